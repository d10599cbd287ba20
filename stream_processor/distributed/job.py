"""What a Faust job is made of: messages of one topic in order, and a handler that makes what follows durable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable


class SourceMessage(NamedTuple):
    """A message as it stands in Kafka."""

    partition: int
    offset: int
    value: bytes


class MessageHandler(Protocol):
    """What a job does. One call at a time, in the event loop; the messages of a partition come in order of offset.

    After a restart or a rebalance, messages that were taken before may come again, and a partition may begin at any
    offset: the offset that the group has committed is the first that comes.
    """

    @property
    def waiting_because(self) -> str | None:
        """Why `take` is waiting for a server now, if it is: then the watchdog does not end the worker for it."""

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Returns when all that follows from the messages is durable: then their offsets are committed.

        An error that leaves it ends the process, with nothing of these messages committed.
        """

    async def tick(self) -> None:
        """About once a second, between two calls of `take`: what is due by the clock."""


@runtime_checkable
class AssignmentHandler(Protocol):
    """A handler that also wants to know which partitions it has."""

    async def take_assignment(self, partitions: frozenset[int]) -> None:
        """These are the worker's from now on. Between two calls of `take`, and before most messages of new ones."""
