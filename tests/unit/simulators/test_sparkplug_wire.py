"""The load's own Sparkplug bytes, against another implementation, the protobuf runtime and our codec."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from contracts.ranges import RangeSet
from contracts.sparkplug import sparkplug_b_pb2
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from simulators import sparkplug_wire as wire
from simulators.errors import WireError
from simulators.sparkplug_template import DataTemplate

VECTORS = Path(__file__).parents[2] / "golden/sparkplug/sparkplug_payloads.json"
NUMBERS = {
    "Int32": wire.INT32,
    "UInt64": wire.UINT64,
    "Float": wire.FLOAT,
    "Double": wire.DOUBLE,
    "String": wire.STRING,
}
NUMBERS["Boolean"] = wire.BOOLEAN
NOW_MS = 1_761_955_200_123


def vector(name):
    vectors = {each["id"]: each for each in json.loads(VECTORS.read_text())["vectors"]}
    return vectors[name]["input"], bytes.fromhex(vectors[name]["hex"])


@pytest.mark.parametrize("name", ["nbirth", "ddata_alias", "null_metric"])
def test_the_octets_are_those_of_another_implementation(name):
    given, octets = vector(name)
    metrics = [
        wire.encode_metric(
            metric["value"],
            NUMBERS[metric["type"]],
            timestamp_ms=metric["timestamp"],
            name=metric.get("name"),
            alias=metric.get("alias"),
            is_historical=metric.get("isHistorical", False),
            properties={key: each["value"] for key, each in metric.get("properties", {}).items()},
        )
        for metric in given["metrics"]
    ]
    assert wire.encode_payload(metrics, given["timestamp"], given["seq"]).hex() == octets.hex()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_383, 16_384, 2**35, NOW_MS, 2**63 - 1, 2**64 - 1])
def test_numbers_of_any_length_are_read_by_the_protobuf_runtime(number):
    octets = wire.encode_payload([wire.encode_metric(number, wire.UINT64, timestamp_ms=number, name="n")], number, None)
    message = sparkplug_b_pb2.Payload.FromString(octets)
    assert (message.timestamp, message.metrics[0].timestamp, message.metrics[0].long_value) == (number,) * 3
    assert message.SerializeToString(deterministic=True) == octets


def test_an_array_and_nothing_are_read_by_our_codec():
    metrics = [
        wire.encode_metric([1, 2, 2**63], wire.UINT64_ARRAY, timestamp_ms=NOW_MS, name="Uplink/LostRanges"),
        wire.encode_metric(None, wire.UINT64_ARRAY, timestamp_ms=NOW_MS, name="none"),
    ]
    array, none = decode_payload(wire.encode_payload(metrics, NOW_MS, 3)).metrics
    assert (array.datatype, array.value) == (DataType.UINT64_ARRAY, [1, 2, 2**63])
    assert (none.datatype, none.value, none.fault) == (DataType.UINT64_ARRAY, None, None)


@pytest.mark.parametrize("is_historical", [False, True], ids=["live", "historical"])
@pytest.mark.parametrize("first_alias", [128, 16_383 - 4])
def test_a_patched_template_is_what_the_protobuf_runtime_writes(first_alias, is_historical):
    times_ms = np.array([NOW_MS - 3, NOW_MS - 2, 2**35, 2**42 - 1, NOW_MS])
    values = np.array([12.5, np.nan, -0.1, 1e300, 7.0])
    bad = {1: {"Quality": 0, "Reason": "no_answer"}, 4: {"Quality": 0, "Reason": "calibration"}}
    template = DataTemplate(first_alias, 5)
    for seq, batch in ((0, 1), (255, 2**40)):
        octets = template.encode(
            times_ms, values, bad, now_ms=NOW_MS, seq=seq, epoch=9, batch=batch, is_historical=is_historical
        )
        message = sparkplug_b_pb2.Payload.FromString(octets)
        assert message.SerializeToString(deterministic=True) == octets, "canonical: fields in order, shortest numbers"
        assert (message.timestamp, message.seq) == (NOW_MS, seq)
        *data, epoch, number = message.metrics
        assert (epoch.name, epoch.long_value) == ("Uplink/Epoch", 9)
        assert (number.name, number.long_value) == ("Uplink/Batch", batch)
        assert [metric.alias - first_alias for metric in data] == [0, 2, 3, 1, 4], "what is not good comes last"
        assert {metric.is_historical for metric in data} == {is_historical}
        for metric in data:
            position = metric.alias - first_alias
            assert metric.timestamp == times_ms[position]
            assert list(metric.properties.keys) == list(bad.get(position, {}))
            if position == 1:
                assert metric.is_null
                assert metric.WhichOneof("value") is None
            else:
                assert metric.double_value == values[position]


def test_our_codec_reads_a_template_with_the_types_of_its_birth():
    octets = DataTemplate(200, 2).encode(
        np.array([NOW_MS, NOW_MS]), np.array([1.5, 2.5]), {}, now_ms=NOW_MS, seq=4, epoch=2, batch=3, is_historical=True
    )
    payload = decode_payload(octets, {200: DataType.DOUBLE, 201: DataType.DOUBLE})
    assert [(metric.alias, metric.value, metric.is_historical) for metric in payload.metrics[:2]] == [
        (200, 1.5, True),
        (201, 2.5, True),
    ]
    assert [(metric.name, metric.value) for metric in payload.metrics[2:]] == [("Uplink/Epoch", 2), ("Uplink/Batch", 3)]


@pytest.mark.parametrize(("first_alias", "count"), [(127, 1), (16_383, 2)])
def test_aliases_that_have_not_two_octets_are_refused(first_alias, count):
    with pytest.raises(ValueError, match="are not within 128"):
        DataTemplate(first_alias, count)


def command(*metrics):
    return encode_payload(Payload(timestamp_ms=NOW_MS, metrics=list(metrics)))


def test_commands_of_the_host_are_understood():
    octets = command(
        Metric(name="Node Control/Rebirth", timestamp_ms=NOW_MS, datatype=DataType.BOOLEAN, value=True),
        Metric(name="Uplink/AckEpoch", timestamp_ms=NOW_MS, datatype=DataType.UINT64, value=2**40),
        Metric(
            name="Uplink/AckRanges",
            timestamp_ms=NOW_MS,
            datatype=DataType.UINT64_ARRAY,
            value=RangeSet([(1, 7), (9, 9)]).flatten(),
        ),
        Metric(name="a double", timestamp_ms=NOW_MS, datatype=DataType.DOUBLE, value=1.0),
        Metric(name="a float", timestamp_ms=NOW_MS, datatype=DataType.FLOAT, value=1.0),
    )
    rebirth, epoch, ranges, *others = wire.decode_command(octets)
    assert (rebirth.name, rebirth.boolean_value) == ("Node Control/Rebirth", True)
    assert (epoch.name, epoch.long_value) == ("Uplink/AckEpoch", 2**40)
    assert (ranges.name, ranges.numbers) == ("Uplink/AckRanges", (1, 7, 9, 9))
    assert [each.name for each in others] == ["a double", "a float"]


def test_a_command_that_is_cut_anywhere_is_refused_or_shorter_and_never_an_endless_loop():
    octets = command(Metric(name="Uplink/AckEpoch", timestamp_ms=NOW_MS, datatype=DataType.UINT64, value=5))
    whole = wire.decode_command(octets)
    for end in range(len(octets)):
        try:
            assert wire.decode_command(octets[:end]) in ([], whole[:1])
        except WireError:
            continue


@pytest.mark.parametrize("octets", [b"\x0b", b"\x12\xff", b"\xff" * 11, b"\x12\x04\x82\x01\x01\x00", b"\x09\x00"])
def test_octets_that_are_no_payload_are_refused(octets):
    with pytest.raises(WireError):
        wire.decode_command(octets)
