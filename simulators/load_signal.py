"""What the channels of a bus show: random walks of a whole bus at once. Pure: chance comes from a seed. Needs numpy."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.quality import Reason
from simulators.load_fleet import BusPlan

_DRAWN_BACK: Final = 0.02
"""Share of the way back to its mean that a channel goes with each reading."""
_BREACH_FACTOR: Final = 1.2
BREACH_READINGS: Final = 3
"""A breach lasts so many readings of its channel."""
BAD_REASONS: Final = (Reason.NO_ANSWER, Reason.CRC_ERROR, Reason.DEVICE_FAULT, Reason.CALIBRATION)
"""What a reading that is not good says, in turn; the last one comes with a value, the others without."""


class BusSignal:
    """The walks of one bus.

    Args:
        bus: its channels.
        seed: the same seed gives the same values.
        bad_share: the share of readings that are not good, 0 to 1.
    """

    def __init__(self, bus: BusPlan, seed: int, bad_share: float) -> None:
        kinds = [kind for _, kind in bus.channels()]
        self._chance = np.random.default_rng(seed)
        self._low, self._high, self._step, middle, spread, self._scale = np.array(
            [(kind.low, kind.high, kind.step, kind.mean, kind.spread, 10.0**kind.decimals) for kind in kinds]
        ).T
        self._mean = np.clip(middle + spread * self._chance.standard_normal(len(kinds)), self._low, self._high)
        self._level = self._mean.copy()
        self._bad_share = bad_share
        self._bad_count = 0
        self._breaches: dict[int, tuple[int, float]] = {}
        self.set_points = {at: kind.condition.set_point for at, kind in enumerate(kinds) if kind.condition is not None}
        """Of the channels that have a condition, by position."""

    def begin_breach(self, position: int) -> float:
        """Lets a channel exceed its set-point for the next readings; gives the value that it will show."""
        value = self.set_points[position] * _BREACH_FACTOR
        value = float(np.rint(value * self._scale[position]) / self._scale[position])
        self._breaches[position] = (BREACH_READINGS, value)
        return value

    def next(self) -> tuple[NDArray[np.float64], dict[int, Reason]]:
        """Values by position, each rounded as its instrument shows it, and which of them are not good.

        Where a reading that is not good has no value, there is NaN.
        """
        self._level += self._step * self._chance.standard_normal(len(self._level))
        self._level += _DRAWN_BACK * (self._mean - self._level)
        np.clip(self._level, self._low, self._high, out=self._level)
        values = np.rint(self._level * self._scale) / self._scale + 0.0  # + 0.0: no negative zero
        bad: dict[int, Reason] = {}
        if self._bad_share > 0:
            for position in np.flatnonzero(self._chance.random(len(values)) < self._bad_share).tolist():
                bad[position] = reason = BAD_REASONS[self._bad_count % len(BAD_REASONS)]
                self._bad_count += 1
                if reason is not Reason.CALIBRATION:
                    values[position] = np.nan
        for position, (left, value) in list(self._breaches.items()):
            values[position] = value
            bad.pop(position, None)
            if left > 1:
                self._breaches[position] = (left - 1, value)
            else:
                del self._breaches[position]
        return values, bad
