"""Our codec against payloads that another implementation made (tests/golden/sparkplug)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from contracts.errors import PayloadError
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import DataSet, Metric, Payload, Property, decode_payload, encode_payload

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/sparkplug/sparkplug_payloads.json"
SHARED = ROOT.parent / "shared/vectors/sparkplug_payloads.json"
VECTORS = json.loads(GOLDEN.read_text(encoding="utf-8"))["vectors"]
TYPE_NAMES = {kind.name.replace("_", ""): kind for kind in DataType}
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])


def payload_of_input(vector):
    """The payload that the other encoder was given, in our types."""
    told = vector["input"]
    return Payload(
        timestamp_ms=told["timestamp"], seq=told["seq"], metrics=[metric_of_input(each) for each in told["metrics"]]
    )


def metric_of_input(told):
    datatype = TYPE_NAMES[told["type"].upper()]
    metric = Metric(
        name=told.get("name"),
        alias=told.get("alias"),
        timestamp_ms=told["timestamp"],
        datatype=datatype,
        is_historical=told.get("isHistorical", False),
        value=table_of_input(told["value"]) if datatype is DataType.DATASET else told["value"],
    )
    for key, told_property in told.get("properties", {}).items():
        metric.properties[key] = Property(TYPE_NAMES[told_property["type"].upper()], told_property["value"])
    return metric


def table_of_input(told):
    return DataSet(told["columns"], [TYPE_NAMES[name.upper()] for name in told["types"]], told["rows"])


def test_there_are_vectors_for_birth_data_null_and_table():
    assert {vector["id"] for vector in VECTORS} == {"dataset", "nbirth", "ddata_alias", "null_metric"}


@each_vector
def test_a_vector_decodes_to_what_its_encoder_was_given(vector):
    assert decode_payload(bytes.fromhex(vector["hex"])) == payload_of_input(vector)


@each_vector
def test_what_the_encoder_was_given_encodes_to_the_same_bytes(vector):
    assert encode_payload(payload_of_input(vector)).hex() == vector["hex"]


@each_vector
def test_a_decoded_vector_encodes_to_the_same_bytes_again(vector):
    assert vector["reencode_same"] is True
    assert encode_payload(decode_payload(bytes.fromhex(vector["hex"]))).hex() == vector["hex"]


@each_vector
def test_a_vector_decodes_to_what_protobuf_with_another_proto_saw(vector):
    seen = vector["protobuf_decoded"]
    payload = decode_payload(bytes.fromhex(vector["hex"]))
    assert (payload.timestamp_ms, payload.seq) == (int(seen["timestamp"]), int(seen["seq"]))
    for metric, told in zip(payload.metrics, seen["metrics"], strict=True):
        assert metric.fault is None
        assert metric.name == told.get("name")
        assert metric.alias == (int(told["alias"]) if "alias" in told else None)
        assert metric.timestamp_ms == int(told["timestamp"])
        assert metric.datatype == told["datatype"]
        assert metric.is_historical is told.get("is_historical", False)
        assert list(metric.properties) == told.get("properties", {}).get("keys", [])
        if told.get("is_null"):
            assert metric.value is None
        for field_name in ("float_value", "double_value", "boolean_value"):
            if field_name in told:
                assert metric.value == told[field_name]
        if "long_value" in told:
            assert metric.value == int(told["long_value"])


@each_vector
def test_a_vector_cut_at_any_length_is_refused_or_decodes_to_less(vector):
    whole = bytes.fromhex(vector["hex"])
    complete = decode_payload(whole)
    for length in range(len(whole)):
        try:
            payload = decode_payload(whole[:length])
        except PayloadError:
            continue
        assert payload != complete, f"cut at {length} of {len(whole)} bytes, and nothing is missing"


@each_vector
def test_any_one_flipped_bit_is_refused_or_decodes(vector):
    whole = bytes.fromhex(vector["hex"])
    for position in range(len(whole) * 8):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        try:
            payload = decode_payload(bytes(flipped))
        except PayloadError:
            continue
        assert isinstance(payload, Payload)


@each_vector
@pytest.mark.parametrize("garbage", [b"\xff" * 8, b"\x00", b'{"timestamp":1}'], ids=["ones", "zero", "json"])
def test_garbage_around_a_vector_is_refused(vector, garbage):
    whole = bytes.fromhex(vector["hex"])
    for corrupt in (garbage, garbage + whole, whole + garbage):
        with pytest.raises(PayloadError, match="no Sparkplug B payload"):
            decode_payload(corrupt)


@pytest.mark.needs_shared
def test_the_golden_copy_equals_the_shared_vectors():
    assert GOLDEN.read_bytes() == SHARED.read_bytes(), f"copy {SHARED} over {GOLDEN}"
