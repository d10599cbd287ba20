"""The short way of plain values and the long way through the codec say the same of every payload."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.fleet import FleetSnapshot
from contracts.record import Record
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.payload import decode_payload
from stream_processor import host_session
from stream_processor.batch_identity import read_batch_identity
from stream_processor.effects import BatchReceived, Effect
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession
from stream_processor.value_run import split_payload

TIME_MS = 1_761_955_200_000
NOW_NS = TIME_MS * 1_000_000
INT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = 3, 8, 9, 10, 11, 12
TYPES = {0: DOUBLE, 1: FLOAT, 2: INT32, 3: DOUBLE, 5: DOUBLE, 127: DOUBLE, 128: DOUBLE, 20_000: DOUBLE, 2**40: DOUBLE}
"""Aliases and the types of their births; 3 is no channel of the fleet."""
CHANNEL_OF = {alias: number for number, alias in enumerate(TYPES, start=1) if alias != 3}


def fleet_of(channel_of: dict[int, int]) -> FleetSnapshot:
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "d", "name": "D"}],
            "sites": [
                {"site_id": "s", "district_id": "d", "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}
            ],
            "gateways": [{"gateway_id": "gw", "district_id": "d", "name": "G"}],
            "nodes": [
                {"node_id": f"n-{alias}", "gateway_id": "gw", "bus_id": "b", "site_id": "s", "model": "m"}
                for alias in channel_of
            ],
            "channels": [
                {"channel_id": number, "node_id": f"n-{alias}", "quantity": "methane_lel"}
                for alias, number in channel_of.items()
            ],
            "conditions": [],
        }
    )


FLEET = FleetIndex(fleet_of(CHANNEL_OF))

aliases = st.sampled_from([*TYPES, *[0, 0, 5, 5], 77])
times = st.one_of(
    st.integers(TIME_MS - 1_000, TIME_MS + 100_000_000),
    st.sampled_from([0, 1, 2**35 - 1, 2**35, 2**42 - 1, 2**42, 2**63]),
)
doubles = st.floats(width=64)


@st.composite
def plain_metrics(draw: st.DrawFn) -> wire.Metric:
    """As most are."""
    alias = draw(st.sampled_from([0, 1, 5, 127, 128, 20_000]))
    metric = wire.Metric(alias=alias, timestamp=draw(st.integers(TIME_MS - 1_000, TIME_MS + 1_000)))
    if TYPES[alias] == FLOAT:
        metric.float_value = draw(st.floats(width=32))
    else:
        metric.double_value = draw(doubles)
    if draw(st.booleans()):
        metric.datatype = TYPES[alias]
    return metric


@st.composite
def odd_metrics(draw: st.DrawFn) -> wire.Metric:
    """Whatever may come."""
    metric = draw(plain_metrics())
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=2)):
        change(draw, metric)
    return metric


def _alias(draw: st.DrawFn, metric: wire.Metric) -> None:
    metric.alias = draw(aliases)


def _name(draw: st.DrawFn, metric: wire.Metric) -> None:
    metric.name = draw(st.sampled_from(["n-0/methane_lel", "n-5/methane_lel", "Uplink/Batch", "nobody", ""]))
    if draw(st.booleans()):
        metric.ClearField("alias")


def _time(draw: st.DrawFn, metric: wire.Metric) -> None:
    metric.ClearField("timestamp")
    if draw(st.booleans()):
        metric.timestamp = draw(times)


def _value(draw: st.DrawFn, metric: wire.Metric) -> None:
    match draw(st.integers(0, 4)):
        case 0:
            metric.ClearField("double_value")
            metric.ClearField("float_value")
        case 1:
            metric.int_value = draw(st.integers(0, 2**32 - 1))
        case 2:
            metric.float_value = draw(st.floats(width=32))
        case 3:
            metric.string_value = "high"
        case _:
            metric.double_value = draw(doubles)


def _datatype(draw: st.DrawFn, metric: wire.Metric) -> None:
    metric.datatype = draw(st.sampled_from([0, INT32, FLOAT, DOUBLE, BOOLEAN, STRING, 99]))


def _properties(draw: st.DrawFn, metric: wire.Metric) -> None:
    metric.properties.keys.append("Quality")
    metric.properties.values.add(type=INT32, int_value=draw(st.sampled_from([0, 192, 500])))


def _flags(draw: st.DrawFn, metric: wire.Metric) -> None:
    for name in ("is_null", "is_historical", "is_transient"):
        if draw(st.booleans()):
            setattr(metric, name, draw(st.booleans()))


def _metadata(_: st.DrawFn, metric: wire.Metric) -> None:
    metric.metadata.description = "from the manual"


CHANGES = [_alias, _name, _time, _value, _datatype, _properties, _flags, _metadata]


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    metrics = draw(st.lists(plain_metrics(), max_size=12))
    for odd in draw(st.lists(odd_metrics(), max_size=3)):
        metrics.insert(draw(st.integers(0, len(metrics))), odd)
    if draw(st.booleans()):
        for metric in metrics:
            metric.is_historical = True
    for name in draw(st.sampled_from([(), ("Uplink/Epoch", "Uplink/Batch"), ("Uplink/Batch",)])):
        metrics.append(wire.Metric(name=name, datatype=UINT64, long_value=draw(st.integers(0, 9))))
    message = wire.Payload(metrics=metrics)
    if draw(st.integers(0, 9)):
        message.seq = draw(st.sampled_from([2, 2, 2, 2, 2, 3, 300]))
    if draw(st.booleans()):
        message.timestamp = TIME_MS
    if not draw(st.integers(0, 9)):
        message.uuid = "u"
    octets = message.SerializeToString(deterministic=True)
    return _damaged(draw, octets) if octets and not draw(st.integers(0, 4)) else octets


def _damaged(draw: st.DrawFn, octets: bytes) -> bytes:
    """One octet is another, or is missing."""
    place = draw(st.integers(0, len(octets) - 1))
    return octets[:place] + draw(st.binary(max_size=2)) + octets[place + 1 :]


def born_session(has_epoch: bool) -> HostSession:
    session = HostSession(FLEET)
    node = [wire.Metric(name="bdSeq", datatype=UINT64, long_value=0)]
    if has_epoch:
        node.append(wire.Metric(name="Uplink/Epoch", datatype=UINT64, long_value=1))
    device = [
        wire.Metric(name=f"n-{alias}/methane_lel", alias=alias, datatype=datatype, is_null=True)
        for alias, datatype in TYPES.items()
    ]
    for seq, (kind, metrics) in enumerate((("NBIRTH/gw", node), ("DBIRTH/gw/b", device))):
        payload = wire.Payload(timestamp=TIME_MS, seq=seq, metrics=metrics).SerializeToString()
        session.step(f"spBv1.0/d/{kind}", payload, NOW_NS)
    return session


def by_the_long_way(session: HostSession, payload: bytes) -> list[Effect]:
    usual = host_session.split_payload
    host_session.split_payload = lambda _: None
    try:
        return session.step("spBv1.0/d/DDATA/gw/b", payload, NOW_NS)
    finally:
        host_session.split_payload = usual


def told(effects: list[Effect]) -> list[object]:
    """Effects that can be compared: records as lists of columns."""
    return [
        (replace(effect, record=None), columns(effect.record)) if isinstance(effect, BatchReceived) else effect
        for effect in effects
    ]


def columns(record: Record) -> list[object]:
    names = ("channel_id", "phenomenon_ns", "received_ns", "value", "reason", "is_historical", "batch_index")
    return [*((name, getattr(record, name).dtype, getattr(record, name).tobytes()) for name in names), record.batches]


@settings(max_examples=400, deadline=None)
@given(payloads(), st.booleans())
@example(
    wire.Payload(
        seq=2, metrics=[wire.Metric(alias=5, timestamp=TIME_MS, double_value=math.inf)] * 9
    ).SerializeToString(),
    True,
)
def test_both_ways_say_the_same(payload, has_epoch):
    short, long = born_session(has_epoch), born_session(has_epoch)
    assert told(short.step("spBv1.0/d/DDATA/gw/b", payload, NOW_NS)) == told(by_the_long_way(long, payload))
    one, other = short.edge_nodes["d", "gw"], long.edge_nodes["d", "gw"]
    assert repr(one.window) == repr(other.window), "as text, since what waits may hold NaN"
    assert (one.future_readings_total, one.last_payload_ns) == (other.future_readings_total, other.last_payload_ns)


@st.composite
def even_payloads(draw: st.DrawFn) -> bytes:
    """As agents send most: aliases in a row, then epoch and batch; perhaps with one octet that is another."""
    aliases = [draw(st.sampled_from([0, 5, 127, 128, 20_000]))] * draw(st.integers(5, 30))
    aliases += [draw(st.sampled_from([0, 5, 128, 20_000, 2**40]))] * draw(st.integers(0, 30))
    aliases += draw(st.lists(st.sampled_from([0, 5, 128]), max_size=6))
    metrics = [
        wire.Metric(alias=alias, timestamp=TIME_MS + place, double_value=draw(doubles))
        for place, alias in enumerate(aliases)
    ]
    if draw(st.booleans()):
        metrics[draw(st.integers(0, len(metrics) - 1))].is_null = True
    for name in ("Uplink/Epoch", "Uplink/Batch"):
        number = draw(st.sampled_from([0, 1, 127, 128, 2**62, 2**63]))
        metrics.append(wire.Metric(name=name, timestamp=TIME_MS, datatype=UINT64, long_value=number))
    octets = wire.Payload(timestamp=TIME_MS, seq=2, metrics=metrics).SerializeToString()
    return _damaged(draw, octets) if draw(st.booleans()) else octets


@settings(max_examples=400, deadline=None)
@given(even_payloads())
def test_both_ways_say_the_same_of_an_agents_payload(payload):
    short, long = born_session(True), born_session(True)
    assert told(short.step("spBv1.0/d/DDATA/gw/b", payload, NOW_NS)) == told(by_the_long_way(long, payload))


@settings(max_examples=400)
@given(even_payloads())
def test_epoch_and_batch_are_read_as_by_the_codec_or_not_at_all(payload):
    split = split_payload(payload)
    if split is not None:
        read = read_batch_identity(split.rest)
        assert read is None or read == decode_payload(split.rest)


def test_an_agents_epoch_and_batch_go_the_short_way():
    names = ("Uplink/Epoch", "Uplink/Batch")
    for time_ms in (None, TIME_MS):
        metrics = [wire.Metric(name=each, timestamp=TIME_MS, datatype=UINT64, long_value=2**62) for each in names]
        octets = wire.Payload(timestamp=time_ms, seq=255, metrics=metrics).SerializeToString()
        assert read_batch_identity(octets) == decode_payload(octets)
        for place in range(len(octets)):
            cut = octets[:place] + octets[place + 1 :]
            read = read_batch_identity(cut)
            assert read is None or read == decode_payload(cut), f"without octet {place}"


@given(st.binary(max_size=200))
def test_any_octets_are_split_into_parts_that_cover_them_or_not_at_all(octets):
    split = split_payload(octets)
    if split is not None:
        assert len(split.rest) < len(octets)
        assert len(split) > 0


def test_a_metric_whose_length_is_wrong_goes_the_long_way():
    good = wire.Payload(
        metrics=[wire.Metric(alias=5, timestamp=TIME_MS, double_value=1.0)] * 8, seq=2
    ).SerializeToString()
    assert split_payload(good) is not None
    for wrong in (good[1] - 1, good[1] + 1):
        bad = good[:1] + bytes([wrong]) + good[2:]
        short, long = born_session(True), born_session(True)
        assert told(short.step("spBv1.0/d/DDATA/gw/b", bad, NOW_NS)) == told(by_the_long_way(long, bad))


def test_a_gateways_usual_batch_goes_the_short_way(monkeypatch):
    """Were it not so, the figures of docs/benchmarks.md would be wrong and no other test would tell."""
    session = born_session(True)
    metrics = [wire.Metric(alias=5, timestamp=TIME_MS + each, double_value=each) for each in range(200)]
    metrics[77].is_null = True
    metrics[77].ClearField("double_value")
    monkeypatch.setattr(HostSession, "_receive", lambda *_: raise_long_way())
    (batch,) = session.step("spBv1.0/d/DDATA/gw/b", wire.Payload(seq=2, metrics=metrics).SerializeToString(), NOW_NS)
    assert isinstance(batch, BatchReceived)
    expected = np.arange(200, dtype=np.float64)
    expected[77] = np.nan
    np.testing.assert_array_equal(batch.record.value, expected)
    assert batch.record.phenomenon_ns.tolist() == [(TIME_MS + each) * 1_000_000 for each in range(200)]


def plain(alias: int, seq: int, values: int = 9) -> bytes:
    metrics = [wire.Metric(alias=alias, timestamp=TIME_MS, double_value=1.0)] * values
    return wire.Payload(seq=seq, metrics=metrics).SerializeToString()


def channels(session: HostSession, payload: bytes) -> set[int]:
    return {
        int(channel)
        for effect in session.step("spBv1.0/d/DDATA/gw/b", payload, NOW_NS)
        if isinstance(effect, BatchReceived)
        for channel in effect.record.channel_id
    }


def test_an_alias_that_a_later_birth_gives_to_another_channel_is_that_channel():
    session = born_session(True)
    assert channels(session, plain(5, seq=2)) == {CHANNEL_OF[5]}
    again = [wire.Metric(name="n-127/methane_lel", alias=5, datatype=DOUBLE, is_null=True)]
    birth = wire.Payload(timestamp=TIME_MS, seq=3, metrics=again).SerializeToString()
    session.step("spBv1.0/d/DBIRTH/gw/b", birth, NOW_NS)
    assert channels(session, plain(5, seq=4)) == {CHANNEL_OF[127]}


def test_a_new_fleet_revision_counts_for_the_next_payload():
    session = born_session(True)
    assert channels(session, plain(5, seq=2)) == {CHANNEL_OF[5]}
    session.take_fleet(FleetIndex(fleet_of({5: 105})))
    assert channels(session, plain(5, seq=3)) == {105}


def test_a_double_of_a_channel_that_was_born_as_float_is_refused_on_both_ways():
    short, long = born_session(True), born_session(True)
    payload = plain(1, seq=2)
    effects = short.step("spBv1.0/d/DDATA/gw/b", payload, NOW_NS)
    assert told(effects) == told(by_the_long_way(long, payload))
    assert isinstance(effects[0], BatchReceived)
    assert {bad.reason for bad in effects[0].refused} == {"wrong_type"}


def raise_long_way() -> None:
    raise AssertionError("the long way")
