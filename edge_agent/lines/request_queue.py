"""Requests to a station, one at a time: sent, sent again when no answer comes, given up after the last try. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edge_agent.lines.listen_effect import Effect, Moment, Note, Send


@dataclass(frozen=True, slots=True)
class StationRequest:
    """What is asked, and how its answer is known."""

    key: str
    """Number that the answer bears."""
    octets: bytes
    what: str
    """For the log."""


class RequestQueue:
    """What waits to be asked, and what waits for its answer."""

    def __init__(self, timeout_s: float, retries: int) -> None:
        """Nothing is asked yet.

        Args:
            timeout_s: how long an answer may take.
            retries: how often a request is made again.
        """
        self.timeout_s = timeout_s
        self.retries = retries
        self._waiting: deque[StationRequest] = deque()
        self._asked: StationRequest | None = None
        self._tries = 0
        self._due_s = 0.0

    @property
    def asked(self) -> StationRequest | None:
        """What waits for its answer."""
        return self._asked

    @property
    def is_idle(self) -> bool:
        """Whether nothing is asked and nothing waits to be."""
        return self._asked is None and not self._waiting

    def ask(self, request: StationRequest) -> None:
        """Puts a request at the end."""
        self._waiting.append(request)

    def answered(self, key: str) -> StationRequest | None:
        """The answer to `key` came; gives the request that it ends, or None if nobody asked (any more)."""
        asked = self._asked
        if asked is None or asked.key != key:
            return None
        self._asked = None
        return asked

    def refused(self, key: str, now: Moment) -> list[Effect]:
        """The station could not read the request: it is made again, as if no answer had come."""
        if self._asked is not None and self._asked.key == key:
            self._due_s = now.monotonic_s
        return self.tick(now)

    def extend(self, key: str, now: Moment, extra_s: float) -> None:
        """The station has the request and works on it: its answer may take longer, and it is not made again."""
        if self._asked is not None and self._asked.key == key:
            self._due_s = now.monotonic_s + extra_s
            self._tries = self.retries + 1

    def tick(self, now: Moment) -> list[Effect]:
        """What is to be sent now, and what is given up."""
        effects: list[Effect] = []
        if self._asked is not None and now.monotonic_s >= self._due_s:
            effects += self._try_again(self._asked, now)
        if self._asked is None and self._waiting:
            self._asked = self._waiting.popleft()
            self._tries = 1
            effects.append(self._send(self._asked, now))
        return effects

    def _try_again(self, asked: StationRequest, now: Moment) -> list[Effect]:
        if self._tries > self.retries:
            self._asked = None
            return [Note("request_unanswered", f"request={asked.what} tries={self._tries}")]
        self._tries += 1
        return [self._send(asked, now)]

    def _send(self, asked: StationRequest, now: Moment) -> Effect:
        self._due_s = now.monotonic_s + self.timeout_s
        return Send(asked.octets)
