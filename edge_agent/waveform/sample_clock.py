"""When each sample was taken: its number at the nominal rate on a line that follows the gateway's clock. Pure.

A poll sees sample `number` at the gateway's time `arrived`: it was taken then or before, by at most a poll interval
and the line's delay. So of `arrived - number / rate` over the last minute the least is the best estimate of when sample
0 was taken (the idea of NTP's clock filter, RFC 5905, section 10: the least delay has the least error). The line moves
towards it by no more than `SLEW_RATIO` of the time that went by: a logger's crystal that is off by 100 ppm is followed,
no second is longer or shorter than another by half a thousandth, and no sample's time ever goes back.

Only when the estimate is away by more than `STEP_NS` (the gateway's clock was set) the line is moved at once, and says
so: what is computed around it is `clock_suspect`.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Final

from contracts.observation import NANOSECONDS_PER_SECOND

SLEW_RATIO: Final = Fraction(1, 2000)
"""500 ppm: as fast as NTP slews (RFC 5905, appendix A.1.1), five times a bad crystal."""
STEP_NS: Final = NANOSECONDS_PER_SECOND
MEMORY_S: Final = 60
"""The least offset of so many seconds counts."""
STEPPED_S: Final = 5
"""All offsets of so many seconds away by STEP_NS: the clock was set, it was no late answer."""
SETTLING_S: Final = 2.0
SETTLING_LOOKS: Final = 3
"""A beginning line waits for so much time and so many looks before it gives times."""


class SampleClock:
    """Times of samples by number."""

    def __init__(self, sample_rate_hz: float) -> None:
        self._period_ns = NANOSECONDS_PER_SECOND / Fraction(sample_rate_hz).limit_denominator(10_000)
        self._least: deque[tuple[int, int]] = deque()
        """By second of the monotonic clock: the least offset that was seen in it."""
        self._offset_ns: int | None = None
        """When sample 0 was taken, by the line. None: not settled."""
        self._begun_s: float | None = None
        self._looks = 0
        self._newest = 0
        """The newest sample at the last look."""

    @property
    def is_settled(self) -> bool:
        """Whether it gives times."""
        return self._offset_ns is not None

    @property
    def period_ns(self) -> Fraction:
        """From one sample to the next."""
        return self._period_ns

    def begin(self) -> None:
        """Forgets the line: numbers say nothing any more about the times before."""
        self._least.clear()
        self._offset_ns, self._begun_s, self._looks = None, None, 0

    def look(self, newest: int, arrived_ns: int, now_s: float) -> bool:
        """A poll saw a sample that was not there at the poll before.

        Args:
            newest: its number.
            arrived_ns: the gateway's clock when the poll began to see it.
            now_s: monotonic clock.

        Returns:
            Whether the line was moved at once.
        """
        self._remember(arrived_ns - int(newest * self._period_ns), int(now_s))
        elapsed, self._newest = newest - self._newest, newest
        if self._offset_ns is None:
            self._settle(now_s)
            return False
        error_ns = min(offset_ns for _, offset_ns in self._least) - self._offset_ns
        recent_ns = min(offset_ns for second, offset_ns in self._least if second > int(now_s) - STEPPED_S)
        if error_ns < -STEP_NS or recent_ns - self._offset_ns > STEP_NS:
            self._least = deque(one for one in self._least if one[1] == recent_ns)
            self._offset_ns = recent_ns
            return True
        reach_ns = int(min(elapsed * SLEW_RATIO, Fraction(1, 2)) * self._period_ns)
        self._offset_ns += max(-reach_ns, min(reach_ns, error_ns))
        return False

    def time_ns(self, number: int) -> int:
        """When a sample was taken."""
        assert self._offset_ns is not None  # nobody asks before it is settled
        return self._offset_ns + int(number * self._period_ns)

    def _remember(self, offset_ns: int, second: int) -> None:
        if self._least and self._least[-1][0] == second:
            self._least[-1] = second, min(offset_ns, self._least[-1][1])
            return
        self._least.append((second, offset_ns))
        while self._least[0][0] <= second - MEMORY_S:
            self._least.popleft()

    def _settle(self, now_s: float) -> None:
        self._begun_s = now_s if self._begun_s is None else self._begun_s
        self._looks += 1
        if self._looks >= SETTLING_LOOKS and now_s - self._begun_s >= SETTLING_S:
            self._offset_ns = min(offset_ns for _, offset_ns in self._least)
