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


def control_quality(
    reasons: UInt8s,
    values: Floats,
    plausible_min: Floats,
    plausible_max: Floats,
    phenomenon_ns: Int64s,
    received_ns: Int64s,
    is_historical: Bools,
) -> UInt8s:
    """The reasons after the platform's own checks. All columns have one length; none is changed."""
    checked = reasons.copy()
    usable = ~is_bad(reasons)
    finite = np.isfinite(values)
    checked[usable & ~finite] = Reason.NOT_A_NUMBER
    with np.errstate(invalid="ignore"):
        implausible = (values < plausible_min) | (values > plausible_max)
    checked[usable & finite & implausible] = Reason.OUT_OF_RANGE
    early = phenomenon_ns > received_ns + CLOCK_TOLERANCE_NS
    late = ~is_historical & (phenomenon_ns < received_ns - CLOCK_TOLERANCE_NS)
    checked[(checked == Reason.OK) & (early | late)] = Reason.CLOCK_SUSPECT
    return checked
