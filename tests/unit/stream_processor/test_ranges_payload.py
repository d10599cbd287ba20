"""The short way to an NCMD's octets says what the codec says."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from contracts import uplink
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, encode_payload
from stream_processor.ranges_payload import encode_ranges_payload

numbers = st.integers(0, 2**63 - 1)


@given(st.integers(0, 2**42), numbers, st.lists(numbers, max_size=40))
@example(1_761_955_200_000, 7, [1, 5, 9, 9])
@example(1_761_955_200_000, 7, list(range(1_000)))
def test_both_ways_give_the_same_octets(time_ms, epoch, flat):
    metrics = [
        Metric(name=uplink.ACK_EPOCH, timestamp_ms=time_ms, datatype=DataType.UINT64, value=epoch),
        Metric(name=uplink.ACK_RANGES, timestamp_ms=time_ms, datatype=DataType.UINT64_ARRAY, value=flat),
    ]
    by_codec = encode_payload(Payload(timestamp_ms=time_ms, metrics=metrics))
    assert encode_ranges_payload(time_ms, uplink.ACK_EPOCH, epoch, uplink.ACK_RANGES, flat) == by_codec


def test_protobuf_reads_it():
    octets = encode_ranges_payload(1_761_955_200_000, uplink.RESEND_EPOCH, 300, uplink.RESEND_RANGES, [1, 2**63 - 1])
    payload = wire.Payload.FromString(octets)
    assert (payload.timestamp, payload.HasField("seq")) == (1_761_955_200_000, False)
    epoch, ranges = payload.metrics
    assert (epoch.name, epoch.datatype, epoch.long_value) == (uplink.RESEND_EPOCH, 8, 300)
    assert (ranges.name, ranges.datatype) == (uplink.RESEND_RANGES, 29)
    assert ranges.bytes_value == (1).to_bytes(8, "little") + (2**63 - 1).to_bytes(8, "little")
