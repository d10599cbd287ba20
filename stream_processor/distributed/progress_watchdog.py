"""Whether a worker is wedged: messages wait, and what its group has committed stands still. Pure.

It is judged by what the broker says is committed, not by what the worker believes: faust-streaming counts an offset as
committed although the broker refused it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """What the broker says of one partition and our group."""

    committed: int | None
    """The next offset to read; None if the group has never committed here."""
    end: int
    """The offset that the next message gets."""

    @property
    def is_behind(self) -> bool:
        """Whether messages wait."""
        return self.end > (self.committed or 0)


@dataclass(slots=True)
class _Standstill:
    committed: int | None
    since_s: float


class ProgressWatchdog:
    """Remembers since when each partition of this worker stands still."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._standing: dict[int, _Standstill] = {}

    def forgive(self) -> None:
        """The worker is not to blame for now (it waits for a server, or nobody can be asked): time starts anew."""
        self._standing.clear()

    def observe(self, now_s: float, partitions: Mapping[int, PartitionProgress]) -> list[int]:
        """Takes the state of all partitions of this worker now.

        Returns:
            The partitions that have been behind without a commit for longer than the limit: the worker is wedged.
        """
        before, self._standing = self._standing, {}
        for number, progress in partitions.items():
            if progress.is_behind:
                known = before.get(number)
                is_still = known is not None and known.committed == progress.committed
                self._standing[number] = known if is_still and known else _Standstill(progress.committed, now_s)
        return sorted(
            number for number, standing in self._standing.items() if now_s - standing.since_s >= self._limit_s
        )
