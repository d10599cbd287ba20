"""The hand-written DDATA encoder, held against the codec that uses Google's protobuf."""

from contracts import uplink
from contracts.quality import REASONS, Reason
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, Property, decode_payload, encode_payload
from edge_agent.uplink.ddata_codec import encode_ddata, encode_varint

MS = 1_000_000


def test_the_bytes_are_those_of_the_general_codec():
    readings = [(1, 1_760_000_000_000 * MS, 2.5, 0), (300, 1_760_000_000_001 * MS, -0.0, 0)]
    payload = encode_ddata(readings, now_ms=1_760_000_000_005, seq=255, epoch=7, batch=2**40, is_historical=True)
    metrics = [
        Metric(name=name, timestamp_ms=1_760_000_000_005, datatype=DataType.UINT64, value=number)
        for name, number in ((uplink.EPOCH, 7), (uplink.BATCH, 2**40))
    ] + [
        Metric(alias=alias, timestamp_ms=ns // MS, datatype=DataType.DOUBLE, value=value, is_historical=True)
        for alias, ns, value, _ in readings
    ]
    general = Payload(timestamp_ms=1_760_000_000_005, metrics=metrics, seq=255)
    assert payload == encode_payload(general, with_datatypes=False)
    assert decode_payload(payload, {1: DataType.DOUBLE, 300: DataType.DOUBLE}) == general


def test_the_first_metric_of_a_batch_is_never_null_and_no_metric_carries_a_datatype():
    # The official kit looks at the first metric of a DDATA only, and takes a null there for a missing alias.
    octets = encode_ddata(
        [(1, MS, None, Reason.NO_ANSWER.value)], now_ms=5, seq=0, epoch=1, batch=1, is_historical=False
    )
    metrics = wire.Payload.FromString(octets).metrics
    assert (metrics[0].name, metrics[0].is_null) == (uplink.EPOCH, False)
    assert not any(metric.HasField("datatype") for metric in metrics)


def test_every_reason_travels_with_its_quality_and_a_missing_value_is_null():
    readings = [(reason.value + 1, 5 * MS, None, reason.value) for reason in Reason if reason is not Reason.OK]
    readings += [(500, 5 * MS, 120.5, Reason.OUT_OF_RANGE.value)]
    payload = encode_ddata(readings, now_ms=5, seq=0, epoch=1, batch=1, is_historical=False)
    datatypes = {reading[0]: DataType.DOUBLE for reading in readings}
    metrics = {metric.alias: metric for metric in decode_payload(payload, datatypes).metrics if metric.alias}
    for alias, _, value, code in readings:
        metric, reason = metrics[alias], Reason(code)
        assert metric.value == value
        assert metric.fault is None
        assert metric.properties == {
            "Quality": Property(DataType.INT32, int(REASONS[reason].sparkplug)),
            "Reason": Property(DataType.STRING, reason.wire_name),
        }


def test_varints_of_the_protocol_buffer_documentation():
    assert encode_varint(1) == b"\x01"
    assert encode_varint(150) == b"\x96\x01"
    assert encode_varint(2**64 - 1) == b"\xff" * 9 + b"\x01"


def test_a_batch_that_was_thinned_says_how_much_is_missing_and_may_be_empty():
    octets = encode_ddata([], now_ms=5, seq=0, epoch=1, batch=2, is_historical=True, thinned_count=200)
    names = dict.fromkeys((uplink.EPOCH, uplink.BATCH, uplink.THINNED), DataType.UINT64)
    assert {metric.name: metric.value for metric in decode_payload(octets, names).metrics} == {
        uplink.EPOCH: 1,
        uplink.BATCH: 2,
        uplink.THINNED: 200,
    }


def test_runs_of_unlike_readings_keep_their_order_and_values():
    now_ns, old_ns = 1_760_000_000_000_000_000, 5_000_000
    readings = [
        (127, now_ns, 1.5, 0),
        (128, now_ns, -0.1, 0),  # the alias takes a byte more
        (129, now_ns, None, int(Reason.NO_ANSWER)),
        (130, now_ns, 7.0, int(Reason.OUT_OF_RANGE)),
        (16_383, now_ns, 2.0, 0),
        (16_384, old_ns, 3.0, 0),  # and so do alias and time
        (16_385, now_ns, 4.0, 0),
    ]
    octets = encode_ddata(readings, now_ms=1, seq=1, epoch=1, batch=1, is_historical=False)
    decoded = [(one.alias, one.timestamp_ms, one.value) for one in decode_payload(octets).metrics[2:]]
    assert decoded == [(alias, time_ns // 1_000_000, value) for alias, time_ns, value, _ in readings]
