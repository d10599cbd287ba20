"""What is remembered of each channel: two arrays over rows, so that a record's share of it is two gathers.

A step takes its rows' share, works on it and puts it back; what was taken first is what a failed step puts back.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from contracts.record import Floats, Int64s
from stream_processor.packed_rows import Rows, gather, scatter

NEVER_NS: Final = -(2**62)
"""Before all times; a difference from it to any time of this century fits int64."""

LATEST_NS: Final = 0
"""The channel's watermark: newest event time of its live readings."""
MEASURED_NS: Final = 1
"""Event time of the last live reading that was not bad."""
UNCHANGED_NS: Final = 2
"""Event time from which the value has not moved."""
HEARD_NS: Final = 3
"""Time of receipt of the last live reading, bad or not."""
TAKEN_NS: Final = 4
"""Phenomenon time of the last reading from an edge node without batch identity."""
_TIMES: Final = 5

MEASURED: Final = 0
"""Value of the last live reading that was not bad."""
UNCHANGED: Final = 1
"""The value from which it has not moved."""
INTERVAL_S: Final = 2
"""Usual time between two hearings."""
DEVIATION_S: Final = 3
"""Usual distance from it."""
INTERVALS: Final = 4
"""How many were learnt."""
IS_BAD: Final = 5
"""1 if the last live reading was bad."""
IS_LOST: Final = 6
"""1 if the channel has been called stale or lost since it was heard."""
TAKEN: Final = 7
"""Value of the last reading from an edge node without batch identity."""
TAKEN_REASON: Final = 8
"""Its reason, as the edge node gave it."""
_NUMBERS: Final = 9


class Share(NamedTuple):
    """The state of some rows."""

    times: Int64s
    numbers: Floats


class ChannelState:
    """The arrays."""

    def __init__(self) -> None:
        self.times: Int64s = np.zeros((0, _TIMES), dtype=np.int64)
        self.numbers: Floats = np.zeros((0, _NUMBERS))

    def grow(self, count: int) -> None:
        """Makes room for rows up to `count` - 1: nothing is known of new ones."""
        added = count - len(self.times)
        if added > 0:
            self.times = np.concatenate([self.times, np.full((added, _TIMES), NEVER_NS, dtype=np.int64)])
            self.numbers = np.concatenate([self.numbers, np.zeros((added, _NUMBERS))])

    def share(self, rows: Rows) -> Share:
        """A copy of the rows' state."""
        return Share(gather(self.times, rows), gather(self.numbers, rows))

    def put(self, rows: Rows, share: Share) -> None:
        """Sets the rows' state."""
        scatter(self.times, rows, share.times)
        scatter(self.numbers, rows, share.numbers)

    def restore(self, times: Int64s, numbers: Floats) -> None:
        """Takes arrays of an earlier state. Raises ValueError if they are none."""
        if times.shape[1:] != (_TIMES,) or numbers.shape != (len(times), _NUMBERS):
            raise ValueError(f"channel state of {times.shape} times and {numbers.shape} numbers")
        self.times, self.numbers = times, numbers
