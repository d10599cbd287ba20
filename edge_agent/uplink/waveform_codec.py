"""A block of a waveform as a Sparkplug metric, by way of the protocol-buffer library: blocks are few. Pure.

What stands in it: contracts.waveform.
"""

from __future__ import annotations

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import REASONS, Reason
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from contracts.waveform import FIRST_SAMPLE_TIME, SAMPLE_RATE
from edge_agent.waveform.waveform_block import WaveformBlock, little_endian


def encode_waveform_metric(block: WaveformBlock, *, is_historical: bool) -> bytes:
    """The octets of a metric, without tag and length. Its data type stands in the birth."""
    metric = wire.Metric(
        alias=block.alias,
        timestamp=block.first_ns // NANOSECONDS_PER_MILLISECOND,
        bytes_value=little_endian(block.samples),
    )
    if is_historical:
        metric.is_historical = True
    _add(metric.properties, SAMPLE_RATE, type=DataType.DOUBLE, double_value=block.sample_rate_hz)
    _add(metric.properties, FIRST_SAMPLE_TIME, type=DataType.INT64, long_value=block.first_ns)
    reason = Reason(block.reason)
    if reason is not Reason.OK:
        _add(metric.properties, "Quality", type=DataType.INT32, int_value=REASONS[reason].sparkplug)
        _add(metric.properties, "Reason", type=DataType.STRING, string_value=reason.wire_name)
    return metric.SerializeToString(deterministic=True)


def _add(properties: wire.PropertySet, key: str, **value: object) -> None:
    properties.keys.append(key)
    properties.values.add(**value)
