"""Staleness: which channels have not been heard for longer than is usual for them.

A channel's limit is three times its usual interval and the usual deviation from it, both learnt as a sender learns the
round trip of a network (V. Jacobson, Congestion avoidance and control, SIGCOMM 1988; RFC 6298), with a memory of 16 and
8 intervals. One long silence is taken as at most four times the usual, so that an outage hardly widens the limit. What
arrives together counts as one hearing.

Silence of the log is not the channels' silence: while nothing at all is told (bridge or worker away), no channel's time
goes on.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record import Bools, Floats, Int64s
from stream_processor.detectors.contract import Rows
from stream_processor.pipeline.channel_state import (
    DEVIATION_S,
    HEARD_NS,
    INTERVAL_S,
    INTERVALS,
    IS_BAD,
    IS_LOST,
    NEVER_NS,
    ChannelState,
    Share,
)

LIMIT_INTERVALS: Final = 3.0
LIMIT_MIN_S: Final = 30.0
LIMIT_UNKNOWN_S: Final = 900.0
"""Before three intervals are known, and for a channel whose last reading was bad: it shows that already, and an agent
asks a device that does not answer ever more rarely."""
KNOWN_INTERVALS: Final = 3
LOOK_NS: Final = NANOSECONDS_PER_SECOND
LOG_SILENCE_NS: Final = 10 * NANOSECONDS_PER_SECOND
"""A log that goes on tells its time each second."""
_OUTLIER: Final = 4.0
_INTERVAL_WEIGHT: Final = 1.0 / 16.0
_DEVIATION_WEIGHT: Final = 1.0 / 8.0


def hear(share: Share, received_ns: Int64s, is_bad: Bools) -> None:
    """Live readings, at most one a channel: `share` learns when they came."""
    times, numbers = share
    heard_ns = times[:, HEARD_NS]
    is_later = (received_ns > heard_ns) & (heard_ns != NEVER_NS)
    gap_s = (received_ns - heard_ns) / NANOSECONDS_PER_SECOND
    count, usual_s, deviation_s = numbers[:, INTERVALS], numbers[:, INTERVAL_S], numbers[:, DEVIATION_S]
    is_taught = count > 0.0
    gap_s = np.where(is_taught, np.minimum(gap_s, _OUTLIER * (usual_s + deviation_s)), gap_s)
    off_s = gap_s - usual_s
    next_usual_s = np.where(is_taught, usual_s + _INTERVAL_WEIGHT * off_s, gap_s)
    next_deviation_s = np.where(is_taught, deviation_s + _DEVIATION_WEIGHT * (np.abs(off_s) - deviation_s), 0.0)
    numbers[:, INTERVAL_S] = np.where(is_later, next_usual_s, usual_s)
    numbers[:, DEVIATION_S] = np.where(is_later, next_deviation_s, deviation_s)
    numbers[:, INTERVALS] = count + is_later
    numbers[:, IS_BAD] = is_bad
    numbers[:, IS_LOST] = 0.0
    times[:, HEARD_NS] = np.maximum(heard_ns, received_ns)


def limits_s(numbers: Floats) -> Floats:
    """How long each channel may be silent."""
    usual = LIMIT_INTERVALS * (numbers[:, INTERVAL_S] + numbers[:, DEVIATION_S])
    is_known = (numbers[:, INTERVALS] >= KNOWN_INTERVALS) & (numbers[:, IS_BAD] == 0.0)
    return np.maximum(usual, np.where(is_known, LIMIT_MIN_S, LIMIT_UNKNOWN_S))


def find_silent(state: ChannelState, is_expected: Bools, now_ns: int) -> Rows:
    """Rows that have been silent for longer than their limit and were not told before; they are then told."""
    heard_ns = state.times[:, HEARD_NS]
    silent_s = (now_ns - heard_ns) / NANOSECONDS_PER_SECOND
    is_silent = (silent_s > LIMIT_MIN_S) & (heard_ns != NEVER_NS) & (state.numbers[:, IS_LOST] == 0.0) & is_expected
    rows = np.flatnonzero(is_silent)
    rows = rows[silent_s[rows] > limits_s(state.numbers[rows])]
    state.numbers[rows, IS_LOST] = 1.0
    return rows


def excuse(state: ChannelState, silence_ns: int) -> None:
    """The log itself was silent for this long: no channel was expected to be heard meanwhile."""
    heard = state.times[:, HEARD_NS] != NEVER_NS
    state.times[heard, HEARD_NS] += silence_ns


def mark_lost(state: ChannelState, rows: Rows, time_ns: int) -> None:
    """These channels were called lost at `time_ns`: unless heard since, they need not be called stale as well."""
    state.numbers[rows[state.times[rows, HEARD_NS] <= time_ns], IS_LOST] = 1.0
