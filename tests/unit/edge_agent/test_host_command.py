"""Commands of a host: what they mean, and which are refused."""

import pytest

from contracts import uplink
from contracts.errors import PayloadError
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, encode_payload
from edge_agent.uplink.host_command import (
    AcknowledgeCommand,
    HostStatement,
    RebirthCommand,
    RereadCommand,
    ResendCommand,
    WriteCommand,
    parse_commands,
    parse_host_statement,
    parse_writes,
)


def ncmd(*metrics: Metric) -> bytes:
    return encode_payload(Payload(timestamp_ms=1, metrics=list(metrics)))


def number(name: str, value: int) -> Metric:
    return Metric(name=name, datatype=DataType.UINT64, value=value)


def numbers(name: str, values: list[int]) -> Metric:
    return Metric(name=name, datatype=DataType.UINT64_ARRAY, value=values)


def test_all_commands_of_one_message_are_taken_and_strangers_passed_over():
    octets = ncmd(
        Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=True),
        number(uplink.ACK_EPOCH, 5),
        numbers(uplink.ACK_RANGES, [1, 3, 7, 7]),
        number(uplink.RESEND_EPOCH, 4),
        numbers(uplink.RESEND_RANGES, [2, 2]),
        Metric(name="Somebody/Else", datatype=DataType.STRING, value="x"),
    )
    assert parse_commands(octets) == [
        RebirthCommand(),
        AcknowledgeCommand(5, RangeSet([(1, 3), (7, 7)])),
        ResendCommand(4, RangeSet([(2, 2)])),
    ]


def test_a_rebirth_that_is_false_is_no_command():
    assert parse_commands(ncmd(Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=False))) == []


@pytest.mark.parametrize(
    "octets",
    [
        b"\xff\xff",
        ncmd(numbers(uplink.ACK_RANGES, [1, 2])),
        ncmd(number(uplink.ACK_EPOCH, 1), numbers(uplink.ACK_RANGES, [1, 2, 3])),
        ncmd(number(uplink.ACK_EPOCH, 1), numbers(uplink.ACK_RANGES, [3, 1])),
        ncmd(number(uplink.ACK_EPOCH, 1), number(uplink.ACK_RANGES, 3)),
        ncmd(Metric(name=uplink.ACK_EPOCH, datatype=DataType.UINT64), numbers(uplink.ACK_RANGES, [1, 1])),
    ],
    ids=["garbage", "no epoch", "odd", "backwards", "no array", "null epoch"],
)
def test_a_command_that_makes_no_sense_deletes_nothing(octets):
    with pytest.raises(PayloadError):
        parse_commands(octets)


def test_host_statements():
    assert parse_host_statement(b'{"online": true, "timestamp": 17}') == HostStatement(True, 17)
    for octets in (b"", b"ONLINE", b"[]", b'{"online": 1, "timestamp": 2}', b'{"online": true, "timestamp": "x"}'):
        with pytest.raises(PayloadError):
            parse_host_statement(octets)


def test_a_dcmd_is_writes_of_numbers_and_booleans():
    metrics = [
        Metric(name="pump-1/valve", datatype=DataType.DOUBLE, value=12.5),
        Metric(name="pump-1/horn", datatype=DataType.BOOLEAN, value=True),
        Metric(name="pump-1/step", datatype=DataType.INT16, value=-3),
    ]
    writes = parse_writes(encode_payload(Payload(timestamp_ms=1, metrics=metrics)))
    assert writes == [
        WriteCommand("pump-1/valve", 12.5),
        WriteCommand("pump-1/horn", 1.0),
        WriteCommand("pump-1/step", -3.0),
    ]


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ([], "no metric"),
        ([Metric(alias=3, datatype=DataType.DOUBLE, value=1.0)], "alias 3"),
        ([Metric(name="a/b", datatype=DataType.DOUBLE)], "a/b: None is no number"),
        ([Metric(name="a/b", datatype=DataType.STRING, value="open")], "a/b: 'open' is no number"),
        ([Metric(name="a/b", datatype=DataType.DOUBLE, value=float("inf"))], "a/b: inf is no number"),
        (
            [
                Metric(name="a/b", datatype=DataType.DOUBLE, value=1.0),
                Metric(name="a/c", datatype=DataType.DOUBLE),
            ],
            "a/c",
        ),
    ],
)
def test_a_dcmd_with_one_metric_that_is_no_write_is_refused_as_a_whole(metrics, words):
    with pytest.raises(PayloadError, match=words):
        parse_writes(encode_payload(Payload(timestamp_ms=1, metrics=metrics)))


def test_rereading_is_asked_for_with_true_only():
    for value, expected in ((True, [RereadCommand()]), (False, [])):
        metric = Metric(name="Node Control/Reread Configuration", datatype=DataType.BOOLEAN, value=value)
        assert parse_commands(encode_payload(Payload(timestamp_ms=1, metrics=[metric]))) == expected
