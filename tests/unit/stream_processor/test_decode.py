"""`stream-processor decode`: what it shows of a message, and where it says that a message is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import PayloadError
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, encode_payload
from stream_processor.decode_fault import find_wire_fault
from stream_processor.decode_text import decode_message, parse_hex

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/sparkplug/sparkplug_payloads.json"
VECTORS = json.loads(GOLDEN.read_text(encoding="utf-8"))["vectors"]
PAYLOADS = [bytes.fromhex(vector["hex"]) for vector in VECTORS]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
DDATA = "spBv1.0/harbour/DDATA/gw-1/rtu"
NBIRTH = "spBv1.0/harbour/NBIRTH/gw-1"


def protobuf_takes(payload: bytes) -> bool:
    try:
        wire.Payload().ParseFromString(payload)
    except DecodeError:
        return False
    return True


def faults_of(topic: str, payload: Payload) -> list[str]:
    return [str(fault) for fault in decode_message(topic, encode_payload(payload)).faults]


def run(*arguments: str, octets: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "stream_processor.cli", "decode", *arguments]
    return subprocess.run(command, cwd=ROOT, input=octets, capture_output=True, check=False, timeout=60)


@each_vector
def test_a_vector_of_another_encoder_is_shown_with_its_metrics_times_and_values(vector):
    decoded = decode_message(DDATA, bytes.fromhex(vector["hex"]))
    assert decoded.text is not None
    shown = json.loads(decoded.text)["payload"]
    expected = vector["protobuf_decoded"]
    assert shown["timestamp_ms"] == int(expected["timestamp"])
    assert shown["seq"] == (int(expected["seq"]) if "seq" in expected else None)
    metrics = expected.get("metrics", [])
    assert [metric.get("name") for metric in shown["metrics"]] == [metric.get("name") for metric in metrics]
    for metric, told in zip(shown["metrics"], metrics, strict=True):
        for field in ("float_value", "double_value", "string_value", "boolean_value"):
            if field in told and isinstance(told[field], float | bool | str) and metric["datatype"] != "uuid":
                assert metric["value"] == pytest.approx(told[field]) or str(metric["value"]) == told[field]


@each_vector
def test_a_truncated_vector_is_refused_at_the_field_that_breaks_or_ends_between_two_fields(vector):
    whole = bytes.fromhex(vector["hex"])
    broken = 0
    for count in range(len(whole)):
        part = whole[:count]
        fault = find_wire_fault(part)
        assert (fault is None) == protobuf_takes(part), f"{part.hex()}: {fault}"
        if fault is not None:
            broken += 1
            assert fault.offset is not None
            assert 0 <= fault.offset <= count
            assert fault.path.startswith("$")
            assert decode_message(DDATA, part).text is None
    assert broken > 0


@given(st.sampled_from(PAYLOADS), st.data())
def test_the_place_of_a_fault_is_found_exactly_where_protobuf_finds_one(payload, data):
    octets = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    changed = bytes(octets)
    fault = find_wire_fault(changed)
    if not protobuf_takes(changed):
        assert fault is not None
        assert fault.offset is not None
        assert fault.offset <= len(changed)
    elif fault is not None:  # groups and texts that are not UTF-8: protobuf lets them pass, Sparkplug has none
        assert "wire type" in fault.what or "UTF-8" in fault.what


def test_the_place_of_a_text_that_is_not_utf_8_is_its_byte():
    payload = encode_payload(Payload(metrics=[Metric(name="ab", datatype=DataType.DOUBLE, value=1.0)]))
    assert str(find_wire_fault(payload.replace(b"ab", b"a\xff"))) == (
        "$.metrics[0].name at byte 5: the text is not UTF-8: invalid start byte"
    )


def test_a_length_beyond_the_end_says_how_much_is_left():
    assert str(find_wire_fault(bytes.fromhex("1205 0a03 61"))) == (
        "$.metrics[0] at byte 1: 5 bytes are announced and 3 are left"
    )


def test_nan_infinities_and_bytes_stay_valid_json():
    metrics = [
        Metric(name="a", datatype=DataType.DOUBLE, value=float("nan")),
        Metric(name="b", datatype=DataType.DOUBLE, value=float("-inf")),
        Metric(name="c", datatype=DataType.BYTES, value=b"\x00\xff"),
    ]
    text = decode_message(DDATA, encode_payload(Payload(1, metrics, 0))).text
    assert text is not None
    assert [metric["value"] for metric in json.loads(text)["payload"]["metrics"]] == ["NaN", "-Infinity", "00ff"]


def test_a_metric_that_is_wrong_in_itself_is_shown_beside_the_good_with_its_place():
    good = Metric(name="good", datatype=DataType.DOUBLE, value=1.0)
    octets = encode_payload(Payload(1, [good], 0)) + bytes.fromhex("120b") + bytes.fromhex("0a03626164 2063 7a02 3132")
    decoded = decode_message(DDATA, octets)
    assert decoded.text is not None
    assert [metric["value"] for metric in json.loads(decoded.text)["payload"]["metrics"]] == [1.0, None]
    assert [str(fault) for fault in decoded.faults] == ["$.metrics[1].value: 99 is no Sparkplug data type"]


def test_a_birth_that_forgets_what_births_must_say_is_told_each_thing():
    assert faults_of(NBIRTH, Payload(None, [Metric(alias=3)], None)) == [
        "$.timestamp_ms: NBIRTH must carry a timestamp",
        "$.seq: NBIRTH must carry a seq",
        "$.metrics: NBIRTH must carry the metric bdSeq",
        "$.metrics: NBIRTH must carry the metric Node Control/Rebirth",
        "$.metrics[0].name: a birth names each metric",
        "$.metrics[0].datatype: a birth says the data type of each metric",
        "$.metrics[0].timestamp_ms: a birth says the time of each metric",
    ]


@pytest.mark.parametrize(
    ("topic", "seq", "expected"),
    [
        (DDATA, 0, []),
        (DDATA, 256, ["$.seq: 256 is not within 0..255"]),
        ("spBv1.0/harbour/NCMD/gw-1", 4, ["$.seq: NCMD must not carry a seq"]),
        ("spBv1.0/harbour/NCMD/gw-1", None, []),
    ],
)
def test_seq_stands_where_sparkplug_wants_it(topic, seq, expected):
    assert faults_of(topic, Payload(1, [], seq)) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"online":true,"timestamp":1761955200000}', []),
        (b'{"online":"true","timestamp":1.5}', ["$.online", "$.timestamp"]),
        (b"OFFLINE", ["$"]),
        (b"[]", ["$"]),
        (b"\xff", ["$"]),
        (b"[" * 100_000, ["$"]),
    ],
)
def test_a_state_message_is_json_with_online_and_timestamp(payload, expected):
    assert [fault.path for fault in decode_message("spBv1.0/STATE/citysense", payload).faults] == expected


def test_hexadecimal_digits_may_stand_in_groups_and_a_wrong_one_is_pointed_at():
    assert parse_hex("08 Fb\n f8") == b"\x08\xfb\xf8"
    with pytest.raises(PayloadError, match="character 4 of the payload, 'g'"):
        parse_hex("08 g1")
    with pytest.raises(PayloadError, match="3 hexadecimal digits"):
        parse_hex("08f")


def test_the_command_takes_hex_a_file_or_standard_input_and_shows_the_same(tmp_path):
    octets = PAYLOADS[0]
    (tmp_path / "payload").write_bytes(octets)
    answers = [
        run(DDATA, octets.hex()),
        run(DDATA, "--file", str(tmp_path / "payload")),
        run(DDATA, "-", octets=octets),
    ]
    assert [answer.returncode for answer in answers] == [0, 0, 0], answers[0].stderr
    assert len({answer.stdout for answer in answers}) == 1
    assert json.loads(answers[0].stdout)["topic"]["device_id"] == "rtu"


def test_the_command_ends_with_1_and_the_place_on_a_message_that_is_wrong(tmp_path):
    broken = run(DDATA, PAYLOADS[0].hex()[:40])
    assert (broken.returncode, broken.stdout) == (1, b"")
    assert b"$.metrics[0] at byte " in broken.stderr
    topic = run("spBv1.0/harbour/XDATA/gw-1", "-", octets=PAYLOADS[0])
    assert topic.returncode == 1
    assert b"topic: 'spBv1.0/harbour/XDATA/gw-1': 'XDATA' is no Sparkplug message type" in topic.stderr
    missing = run(DDATA, "--file", str(tmp_path / "missing"))
    assert missing.returncode == 1
    assert b"missing" in missing.stderr
