"""A set of batch numbers as closed ranges: what was sent, stored, acknowledged, missing.

Kept sorted, disjoint and not adjacent, so that equal sets are equal lists. On the wire (NCMD metric
`Uplink/AckRanges`, UInt64Array) it is flat: from, to, from, to, …
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final

from contracts.errors import PayloadError

BATCH_MAX: Final = 2**63 - 1
"""Highest batch number: what a signed 64-bit column (SQLite, Parquet) can hold."""


class RangeSet:
    """Integers from 0 to BATCH_MAX as closed ranges. Adding in order costs O(1), anywhere O(number of ranges)."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in ranges:
            self.add(first, last)

    def add(self, first: int, last: int | None = None) -> None:
        """Adds `first`..`last`, both included (`last` defaults to `first`).

        Raises:
            ValueError: the range is empty, or not within 0..BATCH_MAX.
        """
        last = first if last is None else last
        if not 0 <= first <= last <= BATCH_MAX:
            raise ValueError(f"not a range of batches: {first}..{last}")
        if self._lasts and first == self._lasts[-1] + 1:  # in order, as nearly always
            self._lasts[-1] = last
            return
        low = bisect_right(self._lasts, first - 2)
        high = bisect_right(self._firsts, last + 1)
        if low < high:
            first = min(first, self._firsts[low])
            last = max(last, self._lasts[high - 1])
        self._firsts[low:high] = [first]
        self._lasts[low:high] = [last]

    def missing(self, first: int, last: int) -> list[tuple[int, int]]:
        """The ranges within `first`..`last` that are not in the set."""
        gaps = []
        position = first
        for low, high in self:
            if high < position:
                continue
            if low > last:
                break
            if low > position:
                gaps.append((position, low - 1))
            position = high + 1
        if position <= last:
            gaps.append((position, last))
        return gaps

    def covers(self, first: int, last: int) -> bool:
        """Whether all of `first`..`last` is in the set. Costs O(log of the number of ranges)."""
        at = bisect_right(self._firsts, first) - 1
        return at >= 0 and last <= self._lasts[at]

    @property
    def count(self) -> int:
        """How many numbers (not ranges) are in the set.

        There is no `len()`: `list()` and `tuple()` would take it for the number of ranges and reserve memory for
        it, which a single hostile range 0..2**62 turns into a MemoryError.
        """
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    def flatten(self) -> list[int]:
        """Gives the wire form: from, to, from, to and so on."""
        return [edge for pair in self for edge in pair]

    @classmethod
    def from_flat(cls, flat: Iterable[int]) -> RangeSet:
        """Parses the wire form. Raises PayloadError if it is not pairs of from <= to."""
        edges = list(flat)
        if len(edges) % 2:
            raise PayloadError(f"acknowledged ranges: {len(edges)} numbers are not pairs of from and to")
        try:
            return cls(sorted(zip(edges[::2], edges[1::2], strict=True)))  # sorted: hostile order must not cost O(n²)
        except ValueError as error:
            raise PayloadError(f"acknowledged ranges: {error}") from error

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self._lasts[at]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RangeSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"RangeSet({list(self)!r})"
