"""Quality control: what the platform itself can see is wrong with a reading.

An agent's reason is never made better. A good or uncertain value becomes bad when it cannot be true for its quantity,
and uncertain when its gateway's clock is clearly off: it still pages, because a wrong clock must not silence a gas
alarm.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.quality import Level, Reason, level_of
from contracts.record import Bools, Floats, Int64s, UInt8s

CLOCK_TOLERANCE_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""A live reading older or newer than this against our clock means that one of the two clocks is wrong."""

_IS_BAD: Final = np.ones(256, dtype=np.bool_)
for _reason in Reason:
    _IS_BAD[_reason] = level_of(_reason) is Level.BAD


def is_bad(reasons: UInt8s) -> Bools:
    """Which reasons mean bad quality; codes that nobody knows are bad."""
    return _IS_BAD[reasons]


def find_clock_faults(phenomenon_ns: Int64s, received_ns: Int64s, is_historical: Bools) -> Bools:
    """Live readings whose time cannot be true: measured after they were received, or long before.

    An agent that sends old readings says so (`is_historical`); one that does not has a wrong clock, for example one
    that begins at 1970 after a power cut.
    """
    early = phenomenon_ns > received_ns + CLOCK_TOLERANCE_NS
    late = ~is_historical & (phenomenon_ns < received_ns - CLOCK_TOLERANCE_NS)
    return early | late


def control_quality(
    reasons: UInt8s, values: Floats, plausible_min: Floats, plausible_max: Floats, is_clock_wrong: Bools
) -> UInt8s:
    """The reasons after the platform's own checks. All columns have one length; none is changed."""
    checked = reasons.copy()
    usable = ~is_bad(reasons)
    finite = np.isfinite(values)
    checked[usable & ~finite] = Reason.NOT_A_NUMBER
    with np.errstate(invalid="ignore"):
        implausible = (values < plausible_min) | (values > plausible_max)
    checked[usable & finite & implausible] = Reason.OUT_OF_RANGE
    checked[(checked == Reason.OK) & is_clock_wrong] = Reason.CLOCK_SUSPECT
    return checked
