"""Quality control: what the platform itself can see is wrong with a reading.

An agent's reason is never made better. A good or uncertain value becomes bad when it cannot be true for its quantity.
It becomes uncertain when its gateway's clock is clearly off, when it jumped faster than its quantity can move, and when
it has not moved for longer than its quantity rests. What is uncertain still pages: neither a wrong clock nor a doubt of
ours must silence a gas alarm. Where two of these hold, the first in this order is told.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.quality import Level, Reason, level_of
from contracts.record import Bools, Floats, Int64s, UInt8s
from stream_processor.pipeline.channel_state import (
    MEASURED,
    MEASURED_NS,
    UNCHANGED,
    UNCHANGED_NS,
    Share,
)
from stream_processor.pipeline.channel_table import FLAT_LINE_S, MAX_RATE, RESOLUTION

CLOCK_TOLERANCE_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""A live reading older or newer than this against our clock means that one of the two clocks is wrong."""
STEP_FLOOR_S: Final = 1.0
"""Readings that are nearer to each other may differ by what the quantity can move in this time: their times are exact
to some ten milliseconds only, and a device may answer with what it measured a second ago."""
SILENCE_SHARE: Final = 0.1
"""A flat line that is interrupted by more than this share of its time begins anew: nobody knows what was between."""

_IS_BAD: Final = np.ones(256, dtype=np.bool_)
for _reason in Reason:
    _IS_BAD[_reason] = level_of(_reason) is Level.BAD


def is_bad(reasons: UInt8s) -> Bools:
    """Which reasons mean bad quality; codes that nobody knows are bad."""
    return _IS_BAD[reasons]


class ClockFaults(NamedTuple):
    """Readings whose time cannot be true, unless they are late."""

    is_ahead: Bools
    """Measured after they were received."""
    is_behind: Bools
    """Live, and measured long before they were received."""


def find_clock_faults(phenomenon_ns: Int64s, received_ns: Int64s, is_historical: Bools) -> ClockFaults:
    """Compares with our clock, more than a minute apart.

    An agent that sends old readings says so (`is_historical`); one that does not has a wrong clock, for example one
    that begins at 1970 after a power cut, or is late without saying so (`stream_processor.pipeline.gateway_clock`).
    """
    age_ns = received_ns - phenomenon_ns
    return ClockFaults(age_ns < -CLOCK_TOLERANCE_NS, ~is_historical & (age_ns > CLOCK_TOLERANCE_NS))


def control_quality(
    reasons: UInt8s, values: Floats, plausible_min: Floats, plausible_max: Floats, is_clock_wrong: Bools
) -> UInt8s:
    """The reasons after the checks that look at one reading alone. All columns have one length; none is changed."""
    checked = reasons.copy()
    with np.errstate(invalid="ignore"):
        is_plausible = (values >= plausible_min) & (values <= plausible_max) & np.isfinite(values)
    doubtful = ~is_plausible & ~is_bad(reasons)
    if doubtful.any():
        checked[doubtful] = np.where(np.isfinite(values[doubtful]), Reason.OUT_OF_RANGE, Reason.NOT_A_NUMBER)
    checked[(checked == Reason.OK) & is_clock_wrong] = Reason.CLOCK_SUSPECT
    return checked


class Motion(NamedTuple):
    """What the last readings of the same channels say of new ones."""

    is_step: Bools
    is_flat: Bools


def control_motion(share: Share, limits: Floats, values: Floats, event_ns: Int64s) -> Motion:
    """Step and flat line of readings, at most one a channel; `share` learns them.

    Args:
        share: state of the channels; changed in place.
        limits: of the channels (`ChannelTable.limits`).
        values: not bad, live, newer than what the channel's state knows.
        event_ns: their event times.
    """
    times, numbers = share
    since_s = (event_ns - times[:, MEASURED_NS]) / NANOSECONDS_PER_SECOND
    is_step = np.abs(values - numbers[:, MEASURED]) > limits[:, MAX_RATE] * np.maximum(since_s, STEP_FLOOR_S)
    flat_line_s = limits[:, FLAT_LINE_S]
    has_moved = np.abs(values - numbers[:, UNCHANGED]) > limits[:, RESOLUTION]
    has_moved |= since_s > SILENCE_SHARE * flat_line_s
    has_moved |= times[:, UNCHANGED_NS] < 0
    times[:, UNCHANGED_NS] = np.where(has_moved, event_ns, times[:, UNCHANGED_NS])
    numbers[:, UNCHANGED] = np.where(has_moved, values, numbers[:, UNCHANGED])
    is_flat = (event_ns - times[:, UNCHANGED_NS]) / NANOSECONDS_PER_SECOND >= flat_line_s
    times[:, MEASURED_NS] = event_ns
    numbers[:, MEASURED] = values
    return Motion(is_step, is_flat)
