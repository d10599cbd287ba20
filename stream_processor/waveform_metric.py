"""A received array metric as a block of a waveform (contracts.waveform), or why it is none. Pure.

Third-party edge nodes may send other arrays than FloatArray under a channel's own name: integers of up to 16 bits are
kept exactly, doubles are rounded to 24 bits of mantissa. What every one must say is its sample rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import Reason, reason_of_sparkplug
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Property
from contracts.waveform import (
    BLOCK_SAMPLES_MAX,
    FIRST_SAMPLE_TIME,
    SAMPLE_RATE,
    SAMPLE_RATE_MAX_HZ,
    SAMPLE_RATE_MIN_HZ,
)
from contracts.waveform_message import Waveform
from stream_processor.pipeline.quality_control import CLOCK_TOLERANCE_NS

ARRAY_TYPES: Final = frozenset(
    {
        DataType.FLOAT_ARRAY,
        DataType.DOUBLE_ARRAY,
        DataType.INT8_ARRAY,
        DataType.INT16_ARRAY,
        DataType.UINT8_ARRAY,
        DataType.UINT16_ARRAY,
    }
)
"""What the samples of a waveform may be."""


def read_waveform(metric: Metric, time_ms: int | None, channel_id: int, received_ns: int) -> Waveform | str:
    """The block, or why it is none.

    Args:
        metric: of an array type by its birth.
        time_ms: the metric's timestamp, or the payload's.
        channel_id: whose samples they are.
        received_ns: our clock.
    """
    samples = metric.value
    if metric.fault is not None or not isinstance(samples, list):
        return metric.fault or "an array that is null"
    if not 0 < len(samples) <= BLOCK_SAMPLES_MAX:
        return f"{len(samples)} samples: 1 to {BLOCK_SAMPLES_MAX} are taken"
    rate_hz = _number(metric.properties, SAMPLE_RATE)
    if rate_hz is None or not SAMPLE_RATE_MIN_HZ <= rate_hz <= SAMPLE_RATE_MAX_HZ:
        wanted = f"a number of {SAMPLE_RATE_MIN_HZ:g} to {SAMPLE_RATE_MAX_HZ:g} Hz"
        return f"property {SAMPLE_RATE} is {rate_hz!r}, not {wanted}"
    first_ns = _first_ns(metric, time_ms)
    if isinstance(first_ns, str):
        return first_ns
    with np.errstate(over="ignore"):
        numbers = np.array(samples, dtype=np.float64).astype(np.float32)
    reason = _reason(metric.properties)
    if reason is Reason.OK and first_ns > received_ns + CLOCK_TOLERANCE_NS:
        reason = Reason.CLOCK_SUSPECT
    return Waveform(channel_id, first_ns, received_ns, rate_hz, int(reason), numbers)


def _first_ns(metric: Metric, time_ms: int | None) -> int | str:
    """When the first sample was taken, to the nanosecond if the metric says so."""
    if time_ms is None:
        return "neither the metric nor the payload has a timestamp"
    said = metric.properties.get(FIRST_SAMPLE_TIME)
    if said is None:
        return time_ms * NANOSECONDS_PER_MILLISECOND
    if not isinstance(said.value, int) or said.value // NANOSECONDS_PER_MILLISECOND != time_ms:
        return f"property {FIRST_SAMPLE_TIME} is {said.value!r}, but the metric's timestamp {time_ms} ms"
    return said.value


def _number(properties: Mapping[str, Property], name: str) -> float | None:
    found = properties.get(name)
    if found is None or isinstance(found.value, bool) or not isinstance(found.value, int | float):
        return None
    return float(found.value) if math.isfinite(found.value) else None


def _reason(properties: Mapping[str, Property]) -> Reason:
    quality, reason = properties.get("Quality"), properties.get("Reason")
    return reason_of_sparkplug(
        quality.value if quality is not None and isinstance(quality.value, int) else None,
        reason.value if reason is not None and isinstance(reason.value, str) else None,
    )
