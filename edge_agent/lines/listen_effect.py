"""What a listening endpoint's protocol decides, and what its shell carries out. Pure.

A protocol gives the shell an `Endpoint`; for every connection (or for the one serial line) the endpoint begins a
`Conversation`, which is fed bytes and the time, and answers with effects. Neither touches a socket or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

from edge_agent.channel_table import Reading


class Moment(NamedTuple):
    """Now, by both clocks."""

    wall_ns: int
    monotonic_s: float


class Lane(Enum):
    """How readings leave the agent."""

    LIVE = auto()
    """With the next group commit."""
    URGENT = auto()
    """At once: an alarm."""
    HISTORY = auto()
    """Marked historical: a report of the past."""


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes for the other side."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """Readings for the spool."""

    readings: tuple[Reading, ...]
    lane: Lane = Lane.LIVE
    receipt: bytes = b""
    """Sent to the other side once everything delivered so far is durable, never before: what is confirmed is kept."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person may look for in the log."""

    event: str
    """Snake case, one word for one thing."""
    detail: str
    is_warning: bool = True


Effect = Send | Deliver | Note


class Conversation(Protocol):
    """One connection's side of the protocol."""

    frames_total: int
    """Whole frames of known stations so far: what tells a slow or hostile sender from a station."""

    def receive(self, octets: bytes, now: Moment) -> list[Effect]:
        """Takes what came."""

    def pause(self, now: Moment) -> list[Effect]:
        """Nothing came for a while: a frame that has begun will not be ended."""

    def tick(self, now: Moment) -> list[Effect]:
        """Time has passed: requests are made, made again, or given up."""


class Endpoint(Protocol):
    """All that one bus knows of the stations that talk to it."""

    aliases: tuple[int, ...]
    """The channels of its nodes."""

    def begin(self) -> Conversation:
        """A new connection."""

    def tick(self, now: Moment) -> list[Effect]:
        """Time has passed: nodes that are silent for too long say so. Only readings and notes."""
