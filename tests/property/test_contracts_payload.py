"""Properties of the Sparkplug payload codec: hostile bytes give PayloadError or a payload, sound payloads come back."""

from __future__ import annotations

import contextlib
import json
import math
import struct
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.errors import PayloadError
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import (
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
GOLDEN = Path(__file__).parents[1] / "golden/sparkplug/sparkplug_payloads.json"
VECTORS = [bytes.fromhex(vector["hex"]) for vector in json.loads(GOLDEN.read_text(encoding="utf-8"))["vectors"]]
U64 = st.integers(0, 2**64 - 1)


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


INTEGERS = {
    **{D[f"INT{bits}"]: st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{D[f"UINT{bits}"]: st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    D.DATETIME: U64,
}
SINGLES = st.floats(width=32)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = {
    **INTEGERS,
    D.FLOAT: SINGLES,
    D.DOUBLE: st.floats(),
    D.BOOLEAN: st.booleans(),
    **dict.fromkeys((D.STRING, D.TEXT, D.UUID), TEXTS),
}
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
ONLY_IN_METRICS = {
    **dict.fromkeys((D.BYTES, D.FILE), st.binary(max_size=12)),
    **{D[f"{kind.name}_ARRAY"]: st.lists(values, max_size=9) for kind, values in INTEGERS.items()},
    D.FLOAT_ARRAY: st.lists(SINGLES, max_size=9),
    D.DOUBLE_ARRAY: st.lists(st.floats(), max_size=9),
    D.BOOLEAN_ARRAY: st.lists(st.booleans(), max_size=20),
    D.STRING_ARRAY: st.lists(WORDS, max_size=5),
}


def typed(table):
    """Pairs of a data type of the table and a value of it, or None."""
    return st.sampled_from(sorted(table)).flatmap(lambda kind: st.tuples(st.just(kind), st.none() | table[kind]))


flat_properties = typed(SCALARS).map(lambda pair: Property(*pair))
property_sets = st.recursive(
    st.dictionaries(TEXTS, flat_properties, max_size=3),
    lambda inner: st.dictionaries(
        TEXTS,
        flat_properties
        | inner.map(lambda each: Property(D.PROPERTY_SET, each))
        | st.lists(inner, max_size=2).map(lambda each: Property(D.PROPERTY_SET_LIST, each)),
        max_size=3,
    ),
    max_leaves=4,
)
metadata = st.builds(
    MetaData,
    is_multi_part=st.none() | st.booleans(),
    content_type=st.none() | TEXTS,
    size=st.none() | U64,
    seq=st.none() | U64,
    file_name=st.none() | TEXTS,
    file_type=st.none() | TEXTS,
    md5=st.none() | TEXTS,
    description=st.none() | TEXTS,
)


@st.composite
def tables(draw):
    types = draw(st.lists(st.sampled_from(sorted(SCALARS)), max_size=3))
    row = st.tuples(*(st.none() | SCALARS[kind] for kind in types)).map(list)
    names = draw(st.lists(TEXTS, min_size=len(types), max_size=len(types)))
    return DataSet(names, types, draw(st.lists(row, max_size=3)))


def metrics_of(values):
    """Metrics that carry what `values` draws: pairs of data type and value."""
    return st.builds(
        lambda pair, **rest: Metric(datatype=pair[0], value=pair[1], **rest),
        values,
        name=st.none() | TEXTS,
        alias=st.none() | U64,
        timestamp_ms=st.none() | U64,
        is_historical=st.booleans(),
        is_transient=st.booleans(),
        properties=property_sets,
        metadata=st.none() | metadata,
    )


def templates_of(metrics):
    return st.builds(
        Template,
        metrics=st.lists(metrics, max_size=2),
        version=st.none() | TEXTS,
        parameters=st.lists(
            st.tuples(TEXTS, typed(SCALARS)).map(lambda pair: Parameter(pair[0], *pair[1])), max_size=2
        ),
        template_ref=st.none() | TEXTS,
        is_definition=st.none() | st.booleans(),
    )


plain_metrics = metrics_of(
    typed(SCALARS | ONLY_IN_METRICS) | tables().map(lambda table: (D.DATASET, table)) | st.just((D.INT8, None))
)
any_metrics = st.recursive(
    plain_metrics,
    lambda inner: metrics_of(templates_of(inner).map(lambda template: (D.TEMPLATE, template))),
    max_leaves=3,
)
payloads = st.builds(
    Payload,
    timestamp_ms=st.none() | U64,
    metrics=st.lists(any_metrics, max_size=3),
    seq=st.none() | U64,
    uuid=st.none() | TEXTS,
    body=st.none() | st.binary(max_size=12),
)


def comparable(value):
    """The same value with floats as their bits, so that NaN equals NaN and -0.0 is not 0.0."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, list):
        return [comparable(each) for each in value]
    if isinstance(value, dict):
        return {key: comparable(each) for key, each in value.items()}
    if isinstance(value, Payload | Metric | Template | Parameter | Property | DataSet | MetaData):
        return type(value).__name__, {name: comparable(getattr(value, name)) for name in value.__slots__}
    return type(value).__name__, value


def decode_or_refuse(wire):
    try:
        return decode_payload(wire)
    except PayloadError:
        return None


@given(payloads)
def test_a_payload_comes_back_as_it_was(payload):
    assert comparable(decode_payload(encode_payload(payload))) == comparable(payload)


@given(payloads)
def test_encoding_is_the_same_each_time_and_after_a_round_trip(payload):
    wire = encode_payload(payload)
    assert encode_payload(payload) == wire
    assert encode_payload(decode_payload(wire)) == wire


@given(st.binary(max_size=200))
@example(b"\x12\x03\x0a\x01\xff")
@example(b"\x22\x01\xff")
def test_random_bytes_are_refused_or_decode(wire):
    decode_or_refuse(wire)


@given(st.sampled_from(VECTORS), st.data())
def test_a_vector_with_bytes_changed_cut_and_put_in_is_refused_or_decodes(vector, data):
    corrupt = bytearray(vector)
    for _ in range(data.draw(st.integers(1, 6))):
        first = data.draw(st.integers(0, len(corrupt)))
        corrupt[first : first + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    decode_or_refuse(bytes(corrupt))


@given(payloads, st.data())
def test_a_payload_cut_anywhere_is_refused_or_decodes(payload, data):
    wire = encode_payload(payload)
    decode_or_refuse(wire[: data.draw(st.integers(0, len(wire)))])


@given(payloads, st.data())
def test_a_payload_with_one_bit_flipped_is_refused_or_decodes_to_values_of_their_types(payload, data):
    wire = bytearray(encode_payload(payload))
    if wire:
        position = data.draw(st.integers(0, len(wire) * 8 - 1))
        wire[position // 8] ^= 1 << position % 8
    decoded = decode_or_refuse(bytes(wire))
    for metric in decoded.metrics if decoded else []:
        assert metric.name is None or isinstance(metric.name, str)
        assert metric.fault is None or metric.value is None
        if metric.value is not None:
            assert isinstance(metric.datatype, DataType)


@given(st.binary(max_size=60), st.dictionaries(st.integers(0, 3), st.sampled_from(DataType)))
def test_types_from_a_birth_never_make_random_bytes_raise_anything_else(content, datatypes):
    metric = b"\x10\x01" + content
    with contextlib.suppress(PayloadError):
        assert len(decode_payload(b"\x12" + bytes([len(metric)]) + metric, datatypes).metrics) == 1


@settings(max_examples=30)
@given(st.integers(0, 400), st.sampled_from([b"\x12", b"\x92\x01", b"\x4a"]))
def test_bytes_nested_to_any_depth_are_refused_or_decode(depth, tag):
    content = b""
    for _ in range(depth):
        length = len(content)
        content = tag + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + content
        if len(content) > 16_000:
            break
    decode_or_refuse(content)


@given(st.lists(SINGLES, max_size=20), st.integers(1, 3))
def test_a_waveform_without_some_last_bytes_is_a_fault_of_its_metric_only(samples, missing):
    wire = struct.pack(f"<{len(samples)}f", *samples)
    cut = wire[: len(wire) - missing] if samples else bytes(missing)
    sound = Metric(name="sound", datatype=D.INT8, value=1)
    (typed_wrong, after) = decode_payload(
        encode_payload(Payload(metrics=[Metric(alias=1, datatype=D.BYTES, value=cut), sound])).replace(
            b"\x20\x11", b"\x20\x1e", 1
        )
    ).metrics
    assert typed_wrong.datatype is D.FLOAT_ARRAY
    assert "not a multiple of 4" in (typed_wrong.fault or "")
    assert after == sound
