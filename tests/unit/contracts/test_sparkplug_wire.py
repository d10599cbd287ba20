"""Our codec against bytes that are written by hand here, field by field, from the wire table of the specification.

Source: Eclipse Sparkplug 3.0.0, sections 6.4.1 and 6.4.16; protocol-buffer encoding as protobuf.dev describes it.
"""

from __future__ import annotations

import math
import struct

import pytest

from contracts.errors import PayloadError
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import (
    MAX_ELEMENTS,
    MAX_NESTING,
    DataSet,
    MetaData,
    Metric,
    Parameter,
    Payload,
    Property,
    Template,
    decode_payload,
    encode_payload,
)

D = DataType


# --- a protocol-buffer writer of a few lines: the oracle -------------------------------------------------------------


def varint(number):
    """Base 128, least significant group first."""
    groups = []
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*groups, number])


def number(field, value):
    """A field of wire type 0."""
    return varint(field << 3) + varint(value)


def block(field, content):
    """A field of wire type 2: text, bytes or a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def float32(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def float64(field, value):
    return varint(field << 3 | 1) + struct.pack("<d", value)


def metric_bytes(datatype, *value_fields):
    """A payload with one metric `m` of a data type."""
    return block(2, block(1, b"m") + number(4, int(datatype)) + b"".join(value_fields))


def decode_one(payload):
    (metric,) = decode_payload(payload).metrics
    return metric


INT, LONG, FLOAT, DOUBLE, BOOLEAN, STRING, BYTES, TABLE, TEMPLATE = range(10, 19)
U32, U64 = 2**32, 2**64

SCALARS = [
    (D.INT8, 0, number(INT, 0)),
    (D.INT8, 127, number(INT, 127)),
    (D.INT8, -1, number(INT, 0xFFFF_FFFF)),
    (D.INT8, -128, number(INT, U32 - 128)),
    (D.INT16, 32_767, number(INT, 32_767)),
    (D.INT16, -32_768, number(INT, U32 - 32_768)),
    (D.INT32, 2**31 - 1, number(INT, 2**31 - 1)),
    (D.INT32, -(2**31), number(INT, 2**31)),
    (D.INT32, -1, bytes.fromhex("50ffffffff0f")),
    (D.INT64, 2**63 - 1, number(LONG, 2**63 - 1)),
    (D.INT64, -(2**63), number(LONG, 2**63)),
    (D.INT64, -1, bytes.fromhex("58ffffffffffffffffff01")),
    (D.UINT8, 0, number(INT, 0)),
    (D.UINT8, 255, number(INT, 255)),
    (D.UINT16, 65_535, number(INT, 65_535)),
    (D.UINT32, U32 - 1, number(INT, U32 - 1)),
    (D.UINT64, U64 - 1, number(LONG, U64 - 1)),
    (D.DATETIME, 1_761_955_200_123, number(LONG, 1_761_955_200_123)),
    (D.FLOAT, 12.5, float32(FLOAT, 12.5)),
    (D.FLOAT, math.inf, bytes.fromhex("650000807f")),
    (D.FLOAT, 3.4028234663852886e38, bytes.fromhex("65ffff7f7f")),
    (D.DOUBLE, -0.125, float64(DOUBLE, -0.125)),
    (D.DOUBLE, 5e-324, bytes.fromhex("690100000000000000")),
    (D.BOOLEAN, True, number(BOOLEAN, 1)),
    (D.BOOLEAN, False, number(BOOLEAN, 0)),
    (D.STRING, "", block(STRING, b"")),
    (D.STRING, "桥 µε", block(STRING, "桥 µε".encode())),
    (D.TEXT, "a\0b", block(STRING, b"a\0b")),
    (D.UUID, "6b6a0b3c-0000-4000-8000-000000000000", block(STRING, b"6b6a0b3c-0000-4000-8000-000000000000")),
    (D.BYTES, b"\x00\xff", block(BYTES, b"\x00\xff")),
    (D.FILE, b"", block(BYTES, b"")),
]
ARRAYS = [
    (D.INT8_ARRAY, [-128, -1, 127], bytes.fromhex("80ff7f")),
    (D.INT16_ARRAY, [-32_768, 1, 32_767], bytes.fromhex("00800100ff7f")),
    (D.INT32_ARRAY, [-(2**31), 2**31 - 1], bytes.fromhex("00000080ffffff7f")),
    (D.INT64_ARRAY, [-(2**63), 2**63 - 1], bytes.fromhex("0000000000000080ffffffffffffff7f")),
    (D.UINT8_ARRAY, [0, 255], bytes.fromhex("00ff")),
    (D.UINT16_ARRAY, [258, 65_535], bytes.fromhex("0201ffff")),
    (D.UINT32_ARRAY, [1, U32 - 1], bytes.fromhex("01000000ffffffff")),
    (D.UINT64_ARRAY, [1, U64 - 1], bytes.fromhex("0100000000000000ffffffffffffffff")),
    (D.FLOAT_ARRAY, [1.5, -2.0], bytes.fromhex("0000c03f000000c0")),
    (D.DOUBLE_ARRAY, [1.5], bytes.fromhex("000000000000f83f")),
    (
        D.BOOLEAN_ARRAY,
        [False, False, True, True, False, True, False, False, True, True, False, True],
        bytes.fromhex("0c00000034d0"),
    ),
    (D.BOOLEAN_ARRAY, [True] * 8, bytes.fromhex("08000000ff")),
    (D.STRING_ARRAY, ["ABC", "", "桥"], b"ABC\0\0" + "桥".encode() + b"\0"),
    (D.STRING_ARRAY, [""], b"\0"),
    (D.DATETIME_ARRAY, [1_256_102_875_335], (1_256_102_875_335).to_bytes(8, "little")),
]
EMPTY_ARRAYS = [
    (kind, [], b"\0\0\0\0" if kind is D.BOOLEAN_ARRAY else b"") for kind in DataType if kind.name.endswith("_ARRAY")
]
VALUES = [
    *SCALARS,
    *((datatype, value, block(BYTES, content)) for datatype, value, content in ARRAYS + EMPTY_ARRAYS),
]
each_value = pytest.mark.parametrize(
    ("datatype", "value", "wire"), VALUES, ids=[f"{row[0].name}-{index}" for index, row in enumerate(VALUES)]
)


def test_the_data_types_have_the_numbers_of_the_specification():
    names = [
        "INT8",
        "INT16",
        "INT32",
        "INT64",
        "UINT8",
        "UINT16",
        "UINT32",
        "UINT64",
        "FLOAT",
        "DOUBLE",
        "BOOLEAN",
        "STRING",
        "DATETIME",
        "TEXT",
        "UUID",
        "DATASET",
        "BYTES",
        "FILE",
        "TEMPLATE",
        "PROPERTY_SET",
        "PROPERTY_SET_LIST",
        "INT8_ARRAY",
        "INT16_ARRAY",
        "INT32_ARRAY",
        "INT64_ARRAY",
        "UINT8_ARRAY",
        "UINT16_ARRAY",
        "UINT32_ARRAY",
        "UINT64_ARRAY",
        "FLOAT_ARRAY",
        "DOUBLE_ARRAY",
        "BOOLEAN_ARRAY",
        "STRING_ARRAY",
        "DATETIME_ARRAY",
    ]
    assert {kind.name: int(kind) for kind in DataType} == {name: index for index, name in enumerate(names, start=1)}


def test_every_data_type_is_written_by_hand_in_this_file():
    structured = {D.DATASET, D.TEMPLATE, D.PROPERTY_SET, D.PROPERTY_SET_LIST}
    assert {row[0] for row in VALUES} == set(DataType) - structured


@each_value
def test_a_value_encodes_to_the_bytes_written_by_hand(datatype, value, wire):
    payload = Payload(metrics=[Metric(name="m", datatype=datatype, value=value)])
    assert encode_payload(payload).hex() == metric_bytes(datatype, wire).hex()


@each_value
def test_the_bytes_written_by_hand_decode_to_the_value_and_its_type(datatype, value, wire):
    metric = decode_one(metric_bytes(datatype, wire))
    assert metric == Metric(name="m", datatype=datatype, value=value)
    assert type(metric.value) is type(value)


def test_not_a_number_travels_as_not_a_number():
    for datatype, wire in ((D.FLOAT, float32(FLOAT, math.nan)), (D.DOUBLE, float64(DOUBLE, math.nan))):
        payload = Payload(metrics=[Metric(name="m", datatype=datatype, value=math.nan)])
        assert encode_payload(payload) == metric_bytes(datatype, wire)
        assert math.isnan(decode_one(metric_bytes(datatype, wire)).value)


@pytest.mark.parametrize(
    ("datatype", "wire", "value"),
    [
        (D.INT8, number(INT, 0xE9), -23),  # two's complement of the type's own width
        (D.INT8, number(LONG, U64 - 23), -23),  # sign-extended to 64 bits
        (D.INT16, number(INT, 0x8AD0), -30_000),
        (D.INT16, number(LONG, U32 - 30_000), -30_000),
        (D.INT32, number(LONG, U64 - 1), -1),
        (D.INT64, number(INT, 7), 7),
        (D.UINT8, number(LONG, 200), 200),
        (D.UINT64, number(INT, U32 - 1), U32 - 1),
        (D.DATETIME, number(INT, 5), 5),
    ],
)
def test_an_integer_is_understood_in_either_field_and_at_any_width(datatype, wire, value):
    assert decode_one(metric_bytes(datatype, wire)) == Metric(name="m", datatype=datatype, value=value)


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        *((D[f"INT{bits}"], 2 ** (bits - 1)) for bits in (8, 16, 32, 64)),
        *((D[f"INT{bits}"], -(2 ** (bits - 1)) - 1) for bits in (8, 16, 32, 64)),
        *((D[f"UINT{bits}"], 2**bits) for bits in (8, 16, 32, 64)),
        *((D[f"UINT{bits}"], -1) for bits in (8, 16, 32, 64)),
        *((D[f"INT{bits}_ARRAY"], [0, 2 ** (bits - 1)]) for bits in (8, 16, 32, 64)),
        *((D[f"UINT{bits}_ARRAY"], [-1]) for bits in (8, 16, 32, 64)),
        (D.DATETIME, -1),
        (D.INT32, True),
        (D.INT32, 1.0),
        (D.INT32, "1"),
        (D.FLOAT, 1e39),
        (D.FLOAT, True),
        (D.DOUBLE, "1.5"),
        (D.DOUBLE, 10**400),
        (D.BOOLEAN, 1),
        (D.STRING, b"bytes"),
        (D.STRING, "\ud800"),
        (D.UUID, 7),
        (D.BYTES, "text"),
        (D.FLOAT_ARRAY, [1e39]),
        (D.FLOAT_ARRAY, [None]),
        (D.FLOAT_ARRAY, 1.5),
        (D.BOOLEAN_ARRAY, [1]),
        (D.STRING_ARRAY, ["a\0b"]),
        (D.STRING_ARRAY, "abc"),
        (D.STRING_ARRAY, ["\ud800"]),
        (D.DATASET, [[1]]),
        (D.TEMPLATE, {}),
        (D.PROPERTY_SET, {}),
        (None, 1),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused_by_the_encoder(datatype, value):
    with pytest.raises(PayloadError):
        encode_payload(Payload(metrics=[Metric(name="m", datatype=datatype, value=value)]))


@pytest.mark.parametrize(
    ("datatype", "wire", "fault"),
    [
        (D.INT8, number(INT, 128 + 256), "not within -128..127"),
        (D.UINT8, number(INT, 256), "not within 0..255"),
        (D.UINT32, number(LONG, U32), "not within 0..4294967295"),
        (D.INT8, float32(FLOAT, 1.0), "came as float_value"),
        (D.FLOAT, float64(DOUBLE, 1.0), "came as double_value, not as float_value"),
        (D.BOOLEAN, number(INT, 1), "came as int_value"),
        (D.STRING, block(BYTES, b"x"), "came as bytes_value"),
        (D.STRING, block(STRING, b"\xff\xfe"), "not UTF-8"),
        (D.UUID, block(STRING, b"\xc3"), "not UTF-8"),
        (D.INT16_ARRAY, block(BYTES, b"\x01\x02\x03"), "not a multiple of 2"),
        (D.DOUBLE_ARRAY, block(BYTES, bytes(7)), "not a multiple of 8"),
        (D.BOOLEAN_ARRAY, block(BYTES, b""), "0 bytes are no BOOLEAN_ARRAY"),
        (D.BOOLEAN_ARRAY, block(BYTES, b"\x09\0\0\0\xff"), "its count is 9"),
        (D.BOOLEAN_ARRAY, block(BYTES, b"\x08\0\0\0\xff\xff"), "its count is 8"),
        (D.BOOLEAN_ARRAY, block(BYTES, b"\xff\xff\xff\xff"), "its count is 4294967295"),
        (D.BOOLEAN_ARRAY, block(BYTES, (2**20 + 1).to_bytes(4, "little") + bytes(2**17 + 1)), "more than 1048576"),
        (D.STRING_ARRAY, block(BYTES, b"abc"), "not ended by NUL"),
        (D.STRING_ARRAY, block(BYTES, b"\xff\0"), "no STRING_ARRAY"),
        (D.DATASET, number(INT, 1), "not a scalar"),
        (D.PROPERTY_SET, number(INT, 1), "DataType|not a scalar"),
        (D.INT8, block(TABLE, b""), "came as dataset_value"),
        (D.DATASET, block(TEMPLATE, b""), "came as template_value"),
        (35, number(INT, 1), "35 is no Sparkplug data type"),
        (0, number(INT, 1), "0 is no Sparkplug data type"),
        (D.INT8, b"", "neither a value nor is_null"),
    ],
)
def test_a_metric_that_is_wrong_in_itself_has_a_fault_and_no_value_and_the_next_one_is_whole(datatype, wire, fault):
    sound = block(2, block(1, b"sound") + number(4, int(D.INT8)) + number(INT, 5))
    wrong, after = decode_payload(metric_bytes(datatype, wire) + sound).metrics
    assert wrong.value is None
    assert wrong.fault is not None
    assert any(part in wrong.fault for part in fault.split("|")), wrong.fault
    assert after == Metric(name="sound", datatype=D.INT8, value=5)


def test_padding_bits_of_a_boolean_array_do_not_matter():
    metric = decode_one(metric_bytes(D.BOOLEAN_ARRAY, block(BYTES, bytes.fromhex("0c00000034db"))))
    assert metric.value == [c == "1" for c in "001101001101"]


def test_the_largest_boolean_array_that_is_taken_decodes():
    wire = block(BYTES, (2**20).to_bytes(4, "little") + bytes(2**17))
    assert len(decode_one(metric_bytes(D.BOOLEAN_ARRAY, wire)).value) == 2**20


def test_all_fields_of_a_payload_and_a_metric_stand_in_ascending_order():
    payload = Payload(
        timestamp_ms=1,
        seq=255,
        uuid="u",
        body=b"b",
        metrics=[
            Metric(
                name="n",
                alias=U64 - 1,
                timestamp_ms=2,
                datatype=D.INT8,
                value=None,
                is_historical=True,
                is_transient=True,
                metadata=MetaData(True, "c", 3, 4, "f", "t", "m", "d"),
                properties={"Quality": Property(D.INT32, 0)},
            )
        ],
    )
    metadata = (
        number(1, 1)
        + block(2, b"c")
        + number(3, 3)
        + number(4, 4)
        + b"".join(block(field, text) for field, text in ((5, b"f"), (6, b"t"), (7, b"m"), (8, b"d")))
    )
    properties = block(1, b"Quality") + block(2, number(1, 3) + number(3, 0))
    metric = (
        block(1, b"n")
        + number(2, U64 - 1)
        + number(3, 2)
        + number(4, 1)
        + number(5, 1)
        + number(6, 1)
        + number(7, 1)
        + block(8, metadata)
        + block(9, properties)
    )
    wire = number(1, 1) + block(2, metric) + number(3, 255) + block(4, b"u") + block(5, b"b")
    assert encode_payload(payload).hex() == wire.hex()
    assert decode_payload(wire) == payload


def test_an_empty_payload_is_no_bytes_and_back():
    assert encode_payload(Payload()) == b""
    assert decode_payload(b"") == Payload()


def test_unknown_fields_are_passed_over_because_the_specification_allows_extensions():
    metric = block(1, b"m") + number(4, 1) + number(INT, 3) + block(19, b"later") + number(1_000, 1)
    assert decode_payload(block(2, metric) + number(6, 1)) == Payload(
        metrics=[Metric(name="m", datatype=D.INT8, value=3)]
    )


@pytest.mark.parametrize(
    ("wire", "datatype", "value"),
    [
        (number(INT, 7), D.UINT32, 7),
        (number(LONG, 7), D.UINT64, 7),
        (float32(FLOAT, 0.5), D.FLOAT, 0.5),
        (float64(DOUBLE, 0.5), D.DOUBLE, 0.5),
        (number(BOOLEAN, 1), D.BOOLEAN, True),
        (block(STRING, b"s"), D.STRING, "s"),
        (block(BYTES, b"s"), D.BYTES, b"s"),
        (block(TABLE, b""), D.DATASET, DataSet([], [], [])),
        (block(TEMPLATE, b""), D.TEMPLATE, Template([])),
    ],
)
def test_a_metric_without_data_type_takes_the_type_of_its_field(wire, datatype, value):
    assert decode_one(block(2, number(2, 9) + wire)) == Metric(alias=9, datatype=datatype, value=value)


def test_a_metric_without_data_type_takes_the_type_of_its_birth():
    payload = block(2, number(2, 9) + number(INT, U32 - 5))
    (metric,) = decode_payload(payload, {9: D.INT16}).metrics
    assert (metric.datatype, metric.value) == (D.INT16, -5)


def test_the_data_type_of_a_metric_counts_more_than_that_of_its_birth():
    payload = block(2, number(2, 9) + number(4, int(D.UINT8)) + number(INT, 5))
    (metric,) = decode_payload(payload, {9: D.INT16}).metrics
    assert metric.datatype is D.UINT8


def test_a_null_metric_needs_no_data_type():
    assert decode_one(block(2, number(2, 9) + number(7, 1))) == Metric(alias=9)


# --- properties ------------------------------------------------------------------------------------------------------


def with_properties(content):
    return metric_bytes(D.INT8, block(9, content), number(INT, 1))


def test_property_sets_and_lists_of_them_are_written_as_the_table_says():
    inner = block(1, b"k") + block(2, number(1, 11) + number(7, 1))
    wire = with_properties(
        block(1, b"set")
        + block(1, b"list")
        + block(1, b"null")
        + block(2, number(1, 20) + block(9, inner))
        + block(2, number(1, 21) + block(10, block(1, inner) + block(1, b"")))
        + block(2, number(1, 12) + number(2, 1))
    )
    nested = {"k": Property(D.BOOLEAN, True)}
    metric = Metric(
        name="m",
        datatype=D.INT8,
        value=1,
        properties={
            "set": Property(D.PROPERTY_SET, nested),
            "list": Property(D.PROPERTY_SET_LIST, [nested, {}]),
            "null": Property(D.STRING, None),
        },
    )
    assert decode_one(wire) == metric
    assert encode_payload(Payload(metrics=[metric])).hex() == wire.hex()


def test_a_property_without_type_takes_the_type_of_its_field_since_only_births_must_name_it():
    wire = with_properties(block(1, b"Quality") + block(2, number(3, 192)))
    assert decode_one(wire).properties == {"Quality": Property(D.UINT32, 192)}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (block(1, b"a"), "1 property keys with 0 values"),
        (block(2, number(1, 1) + number(3, 1)), "0 property keys with 1 values"),
        (block(1, b"a") + block(2, number(1, 99) + number(3, 1)), "99 is no Sparkplug data type"),
        (block(1, b"a") + block(2, number(1, 17) + block(8, b"x")), "came as string_value"),
        (block(1, b"a") + block(2, number(1, 1) + block(9, b"")), "INT8 came as propertyset_value"),
        (block(1, b"a") + block(2, number(1, 20) + block(10, b"")), "PROPERTY_SET came as propertysets_value"),
        (block(1, b"\xff") + block(2, number(1, 1) + number(3, 1)), "not UTF-8"),
        (block(1, b"a") + block(2, number(1, 12) + block(8, b"\xff")), "not UTF-8"),
    ],
)
def test_a_value_whose_properties_cannot_be_read_is_not_given_since_its_quality_is_unknown(content, fault):
    metric = decode_one(with_properties(content))
    assert metric.value is None
    assert fault in (metric.fault or "")


@pytest.mark.parametrize("datatype", [D.BYTES, D.FILE, D.INT8_ARRAY, D.DATASET, D.TEMPLATE])
def test_a_type_that_no_property_table_or_parameter_can_carry_is_refused(datatype):
    value = [1] if datatype is D.INT8_ARRAY else b"x"
    carriers = [
        Metric(name="m", datatype=D.INT8, value=1, properties={"p": Property(datatype, value)}),
        Metric(name="m", datatype=D.DATASET, value=DataSet(["c"], [datatype], [[value]])),
        Metric(name="m", datatype=D.TEMPLATE, value=Template([], parameters=[Parameter("p", datatype, value)])),
    ]
    for metric in carriers:
        with pytest.raises(PayloadError, match="cannot stand here"):
            encode_payload(Payload(metrics=[metric]))


# --- tables and templates --------------------------------------------------------------------------------------------


def test_a_table_is_written_as_the_table_says_with_a_null_cell():
    table = DataSet(["t", "v"], [D.INT64, D.STRING], [[-1, "x"], [2, None]])
    rows = block(4, block(1, number(2, U64 - 1)) + block(1, block(6, b"x"))) + block(
        4, block(1, number(2, 2)) + block(1, b"")
    )
    wire = metric_bytes(
        D.DATASET, block(TABLE, number(1, 2) + block(2, b"t") + block(2, b"v") + number(3, 4) + number(3, 12) + rows)
    )
    assert encode_payload(Payload(metrics=[Metric(name="m", datatype=D.DATASET, value=table)])).hex() == wire.hex()
    assert decode_one(wire).value == table


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (number(1, 1) + block(2, b"a"), "1 columns has 0 types"),
        (block(2, b"a") + number(3, 1) + block(4, b""), "a row of 0 values"),
        (block(2, b"a") + number(3, 77), "77 is no Sparkplug data type"),
        (block(2, b"\xff") + number(3, 1), "not UTF-8"),
        (block(2, b"a") + number(3, 1) + block(4, block(1, block(6, b"x"))), "came as string_value"),
    ],
)
def test_a_table_that_is_not_rectangular_or_typed_is_a_fault(content, fault):
    assert fault in (decode_one(metric_bytes(D.DATASET, block(TABLE, content))).fault or "")


@pytest.mark.parametrize(
    "table", [DataSet(["a"], [], []), DataSet(["a"], [D.INT8], [[]]), DataSet(["a"], [D.INT8], [[1, 2]])]
)
def test_a_table_that_is_not_rectangular_is_refused_by_the_encoder(table):
    with pytest.raises(PayloadError, match="data set"):
        encode_payload(Payload(metrics=[Metric(name="m", datatype=D.DATASET, value=table)]))


def test_a_template_is_written_as_the_table_says():
    template = Template(
        version="1",
        metrics=[Metric(name="i", datatype=D.INT8, value=-1)],
        parameters=[Parameter("p", D.DOUBLE, 0.5), Parameter("q", D.STRING, None)],
        template_ref="r",
        is_definition=False,
    )
    content = (
        block(1, b"1")
        + block(2, block(1, b"i") + number(4, 1) + number(INT, U32 - 1))
        + block(3, block(1, b"p") + number(2, 10) + float64(6, 0.5))
        + block(3, block(1, b"q") + number(2, 12))
        + block(4, b"r")
        + number(5, 0)
    )
    wire = metric_bytes(D.TEMPLATE, block(TEMPLATE, content))
    assert encode_payload(Payload(metrics=[Metric(name="m", datatype=D.TEMPLATE, value=template)])).hex() == wire.hex()
    assert decode_one(wire).value == template


# --- limits ----------------------------------------------------------------------------------------------------------


def nested_templates(depth):
    metric = Metric(name="leaf", datatype=D.INT8, value=1)
    for _ in range(depth):
        metric = Metric(name="t", datatype=D.TEMPLATE, value=Template([metric]))
    return Payload(metrics=[metric])


def nested_template_bytes(depth):
    content = block(1, b"leaf") + number(4, 1) + number(INT, 1)
    for _ in range(depth):
        content = block(1, b"t") + number(4, 19) + block(TEMPLATE, block(2, content))
    return block(2, content)


def nested_properties(depth):
    properties = {"leaf": Property(D.INT8, 1)}
    for _ in range(depth - 1):
        properties = {"set": Property(D.PROPERTY_SET, properties)}
    return Payload(metrics=[Metric(name="m", datatype=D.INT8, value=1, properties=properties)])


def faults_below(metric):
    found = [metric.fault] if metric.fault else []
    if isinstance(metric.value, Template):
        for inner in metric.value.metrics:
            found += faults_below(inner)
    return found


def test_templates_may_be_nested_to_the_limit_and_no_deeper():
    assert decode_payload(encode_payload(nested_templates(MAX_NESTING))) == nested_templates(MAX_NESTING)
    with pytest.raises(PayloadError, match="nested deeper than 8"):
        encode_payload(nested_templates(MAX_NESTING + 1))
    (metric,) = decode_payload(nested_template_bytes(MAX_NESTING + 1)).metrics
    assert faults_below(metric) == ["templates are nested deeper than 8"]


def test_property_sets_may_be_nested_to_the_limit_and_no_deeper():
    assert decode_payload(encode_payload(nested_properties(MAX_NESTING))) == nested_properties(MAX_NESTING)
    with pytest.raises(PayloadError, match="nested deeper than 8"):
        encode_payload(nested_properties(MAX_NESTING + 1))


@pytest.mark.parametrize("depth", [50, 100, 1_000, 10_000])
def test_nesting_of_any_depth_neither_exhausts_the_stack_nor_escapes_as_another_error(depth):
    try:
        (metric,) = decode_payload(nested_template_bytes(depth)).metrics
    except PayloadError:
        return
    assert faults_below(metric)


def test_a_payload_of_more_than_the_limit_is_refused_before_it_is_parsed():
    assert decode_payload(block(5, bytes(94)), max_bytes=96).body == bytes(94)
    with pytest.raises(PayloadError, match="97 bytes are more than the 96"):
        decode_payload(block(5, bytes(95)), max_bytes=96)


def test_more_metrics_than_the_limit_refuse_the_payload():
    assert len(decode_payload(block(2, b"") * MAX_ELEMENTS).metrics) == MAX_ELEMENTS
    with pytest.raises(PayloadError, match="more than 100000"):
        decode_payload(block(2, b"") * (MAX_ELEMENTS + 1))


@pytest.mark.parametrize(
    "wire",
    [
        metric_bytes(D.TEMPLATE, block(TEMPLATE, block(2, b"") * MAX_ELEMENTS)),
        metric_bytes(D.TEMPLATE, block(TEMPLATE, block(3, b"") * MAX_ELEMENTS)),
        metric_bytes(D.DATASET, block(TABLE, block(4, b"") * MAX_ELEMENTS)),
        metric_bytes(D.INT8, block(9, block(1, b"") * MAX_ELEMENTS + block(2, b"") * MAX_ELEMENTS)),
        metric_bytes(
            D.INT8, block(9, block(1, b"a") + block(2, number(1, 21) + block(10, block(1, b"") * MAX_ELEMENTS)))
        ),
    ],
    ids=["template", "parameters", "table", "properties", "property_set_list"],
)
def test_one_metric_with_more_elements_than_the_limit_is_a_fault_and_the_next_one_is_whole(wire):
    sound = block(2, block(1, b"sound") + number(4, int(D.INT8)) + number(INT, 5))
    wrong, after = decode_payload(wire + sound).metrics
    assert "more than 100000" in (wrong.fault or "")
    assert after.value == 5


def test_texts_that_are_not_utf_8_are_refused_wherever_they_stand():
    with pytest.raises(PayloadError, match="not UTF-8"):
        decode_payload(block(4, b"\xff"))
    for wire in (
        block(2, block(1, b"\xff") + number(4, 1) + number(INT, 1)),
        metric_bytes(D.INT8, block(8, block(8, b"\xff")), number(INT, 1)),
        metric_bytes(D.TEMPLATE, block(TEMPLATE, block(1, b"\xff"))),
        metric_bytes(D.TEMPLATE, block(TEMPLATE, block(3, block(1, b"\xff") + number(2, 1) + number(3, 1)))),
    ):
        metric = decode_one(wire)
        assert metric.value is None
        assert "not UTF-8" in (metric.fault or "")


@pytest.mark.parametrize(
    "payload",
    [
        Payload(timestamp_ms=-1),
        Payload(seq=U64),
        Payload(uuid="\ud800"),
        Payload(metrics=[Metric(name="\ud800", datatype=D.INT8, value=1)]),
        Payload(metrics=[Metric(alias=-1, datatype=D.INT8, value=1)]),
        Payload(metrics=[Metric(name="m", datatype=D.INT8, value=1, properties={"\ud800": Property(D.INT8, 1)})]),
        Payload(metrics=[Metric(name="m", datatype=D.INT8, value=1, metadata=MetaData(size=-1))]),
        Payload(metrics=[Metric(name="m", datatype=D.INT8, value=1, properties={"p": Property(D.PROPERTY_SET, 3)})]),
        Payload(
            metrics=[Metric(name="m", datatype=D.INT8, value=1, properties={"p": Property(D.PROPERTY_SET_LIST, [3])})]
        ),
    ],
)
def test_what_the_wire_cannot_carry_is_refused_by_the_encoder(payload):
    with pytest.raises(PayloadError):
        encode_payload(payload)
