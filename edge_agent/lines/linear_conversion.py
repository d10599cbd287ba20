"""The conversion that most channels have: value = scale · (raw / divisor) + offset. Pure.

Its numbers can be seen, so that a whole answer's registers are converted column by column (`modbus/channel_judge.py`);
one by one it is a `Conversion` like any other.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LinearConversion:
    """Divides first: a register of tenths gives the double that is nearest to its decimal number."""

    scale: float = 1.0
    offset: float = 0.0
    divisor: float = 1.0
    """Not 0."""

    def __call__(self, raw: float) -> float:
        """The value of a register's number."""
        return self.scale * (raw / self.divisor) + self.offset
