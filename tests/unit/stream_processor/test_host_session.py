"""The Sparkplug host's state machine: births, deaths, sequence, identity, quarantine."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import uplink
from contracts.quality import Reason
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from contracts.uplink import BatchIdentity
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import (
    BatchesLost,
    BatchReceived,
    ChannelsLost,
    CommandDue,
    HostSession,
    Quarantined,
)

SECOND_NS = 1_000_000_000


@pytest.fixture
def session(fleet):
    return HostSession(FleetIndex(fleet))


@pytest.fixture
def born(session, voice, time_ns):
    session.step(*voice.nbirth(), time_ns)
    session.step(*voice.dbirth(), time_ns)
    return session


def only(effects, kind):
    assert len(effects) == 1, effects
    assert isinstance(effects[0], kind), effects
    return effects[0]


def is_rebirth_request(effect):
    metrics = decode_payload(effect.payload).metrics
    return isinstance(effect, CommandDue) and metrics[0].name == "Node Control/Rebirth" and metrics[0].value is True


def test_a_reading_by_alias_becomes_a_row_of_its_channel_with_its_batch_identity(born, voice, reading, time_ns):
    batch = only(born.step(*voice.ddata(5, reading(13.75)), time_ns + 9), BatchReceived)
    assert batch.identity == BatchIdentity("gw-1", 7, 5)
    record = batch.record
    assert record.channel_id.tolist() == [11]
    assert record.value.tolist() == [13.75]
    assert record.phenomenon_ns.tolist() == [time_ns]
    assert record.received_ns.tolist() == [time_ns + 9]
    assert record.reason.tolist() == [Reason.OK]


def test_a_batch_of_an_earlier_epoch_keeps_its_own_identity(born, voice, reading, time_ns):
    batch = only(born.step(*voice.ddata(5, reading(1.0, is_historical=True), epoch=6), time_ns), BatchReceived)
    assert batch.identity == BatchIdentity("gw-1", 6, 5)
    assert batch.record.is_historical.tolist() == [True]


def test_no_answer_comes_without_a_value_and_with_its_reason(born, voice, reading, time_ns):
    batch = only(born.step(*voice.ddata(1, reading(None, quality=0, reason="no_answer")), time_ns), BatchReceived)
    assert np.isnan(batch.record.value[0])
    assert batch.record.reason[0] == Reason.NO_ANSWER


def test_nan_that_claims_to_be_good_is_bad(born, voice, reading, time_ns):
    batch = only(born.step(*voice.ddata(1, reading(float("nan"))), time_ns), BatchReceived)
    assert batch.record.reason[0] == Reason.NOT_A_NUMBER


def test_births_of_our_agents_repeat_the_spool_so_they_store_nothing(session, voice, time_ns):
    assert session.step(*voice.nbirth(), time_ns) == []
    assert session.step(*voice.dbirth(), time_ns) == []


def test_a_third_party_birth_carries_values_and_its_data_have_no_identity(session, third_party_voice, reading, time_ns):
    voice = third_party_voice
    session.step(*voice.nbirth(), time_ns)
    birth = only(session.step(*voice.dbirth(), time_ns), BatchReceived)
    assert birth.identity is None
    assert birth.record.value.tolist() == [1.5]
    assert only(session.step(*voice.ddata(None, reading(2.0)), time_ns), BatchReceived).identity is None


def test_data_before_a_birth_ask_for_one_and_are_not_taken(session, voice, reading, time_ns):
    effects = session.step(*voice.ddata(1, reading(1.0)), time_ns)
    assert is_rebirth_request(only(effects, CommandDue))
    assert effects[0].topic == "spBv1.0/harbour/NCMD/gw-1"


def test_rebirth_requests_back_off(session, voice, reading, time_ns):
    asked = [
        second
        for second in range(60)
        if any(
            isinstance(e, CommandDue) for e in session.step(*voice.ddata(1, reading(1.0)), time_ns + second * SECOND_NS)
        )
    ]
    assert asked == [0, 2, 6, 14, 30]


def test_a_hole_in_seq_asks_for_a_rebirth_but_the_batch_is_taken(born, voice, reading, time_ns):
    voice.seq += 1
    kinds = [type(effect) for effect in born.step(*voice.ddata(1, reading(1.0)), time_ns)]
    assert kinds == [CommandDue, BatchReceived]


def test_seq_wraps_at_256_without_a_rebirth_request(born, voice, reading, time_ns):
    for batch in range(1, 600):
        only(born.step(*voice.ddata(batch, reading(1.0)), time_ns), BatchReceived)


def test_a_gateway_death_with_the_births_bdseq_loses_all_its_channels(born, voice, time_ns):
    lost = only(born.step(*voice.ndeath(bd_seq=3), time_ns), ChannelsLost)
    assert set(lost.channel_ids) == {11, 12, 14}
    assert lost.reason is Reason.GATEWAY_LOST


def test_a_gateway_death_of_an_earlier_connection_is_ignored(born, voice, reading, time_ns):
    assert born.step(*voice.ndeath(bd_seq=2), time_ns) == []
    only(born.step(*voice.ddata(1, reading(1.0)), time_ns), BatchReceived)


def test_a_bus_death_is_one_effect_for_the_channels_of_that_bus(born, voice, time_ns):
    lost = only(born.step(*voice.ddeath("rtu"), time_ns), ChannelsLost)
    assert lost.channel_ids == (12,)
    assert lost.reason is Reason.BUS_LOST


def test_losing_our_own_broker_makes_channels_stale_and_needs_new_births(born, voice, reading, time_ns):
    lost = only(born.lose_connection(time_ns), ChannelsLost)
    assert lost.reason is Reason.STALE
    assert is_rebirth_request(only(born.step(*voice.ddata(1, reading(1.0)), time_ns), CommandDue))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gas-999/methane_lel", "unknown_node"),
        ("gas-003/methane_lel", "node_of_another_gateway"),
        ("old-001/methane_lel", "retired_node"),
        ("gas-001/level", "unknown_channel"),
        ("Temperature Sensor", "not_a_channel_name"),
    ],
)
def test_a_reading_that_is_none_of_ours_is_refused_with_its_reason_beside_the_good(
    session, voice, reading, time_ns, name, reason
):
    session.step(*voice.nbirth(), time_ns)
    session.step(*voice.dbirth((name, "gas-001/methane_lel")), time_ns)
    batch = only(session.step(*voice.ddata(1, reading(1.0, 100), reading(2.0, 101)), time_ns), BatchReceived)
    assert batch.record.value.tolist() == [2.0]
    assert [bad.reason for bad in batch.refused] == [reason]


def test_a_wrong_type_is_refused_and_the_good_of_the_same_payload_are_kept(born, voice, reading, time_ns):
    wrong = Metric(alias=100, timestamp_ms=1, datatype=DataType.STRING, value="12.5")
    batch = only(born.step(*voice.ddata(1, wrong, reading(2.0)), time_ns), BatchReceived)
    assert batch.record.value.tolist() == [2.0]
    assert [bad.reason for bad in batch.refused] == ["wrong_type"]


def test_an_unknown_gateway_and_a_gateway_of_another_district_are_quarantined(session, voice, time_ns):
    _, payload = voice.nbirth()
    for topic in ("spBv1.0/harbour/NBIRTH/gw-9", "spBv1.0/hills/NBIRTH/gw-1"):
        assert only(session.step(topic, payload, time_ns), Quarantined).reason == "unknown_gateway"


@pytest.mark.parametrize("payload", [b"", b"\xff\xff\xff", b"{}", bytes(range(256))])
def test_poison_payloads_do_no_harm(born, voice, reading, time_ns, payload):
    for kind in ("NBIRTH", "NDATA", "NDEATH"):
        for effect in born.step(f"spBv1.0/harbour/{kind}/gw-1", payload, time_ns):
            assert isinstance(effect, Quarantined | CommandDue)


def test_a_topic_outside_of_sparkplug_is_quarantined(session, time_ns):
    assert only(session.step("spBv1.0/harbour/XDATA/gw-1", b"", time_ns), Quarantined).reason == "not_sparkplug"


def test_an_identity_beyond_63_bits_is_no_identity(born, voice, reading, time_ns):
    assert only(born.step(*voice.ddata(2**64 - 1, reading(1.0)), time_ns), BatchReceived).identity is None


def test_a_gateway_says_which_batches_are_gone_for_good(born, time_ns):
    metrics = [
        Metric(name=uplink.LOST_EPOCH, datatype=DataType.UINT64, value=7),
        Metric(name=uplink.LOST_RANGES, datatype=DataType.UINT64_ARRAY, value=[2, 4, 9, 9]),
    ]
    effects = born.step("spBv1.0/harbour/NDATA/gw-1", encode_payload(Payload(1, metrics, 2)), time_ns)
    assert only(effects, BatchesLost).ranges == ((2, 4), (9, 9))


def test_a_new_fleet_revision_resolves_born_metrics_anew(session, voice, fleet, reading, time_ns):
    session.step(*voice.nbirth(), time_ns)
    session.step(*voice.dbirth(("gas-009/methane_lel",)), time_ns)
    assert only(session.step(*voice.ddata(1, reading(1.0)), time_ns), BatchReceived).refused
    node = fleet.nodes[0].model_copy(update={"node_id": "gas-009"})
    channel = fleet.channels[0].model_copy(update={"channel_id": 15, "node_id": "gas-009"})
    session.take_fleet(
        FleetIndex(fleet.model_copy(update={"nodes": [*fleet.nodes, node], "channels": [*fleet.channels, channel]}))
    )
    assert only(session.step(*voice.ddata(2, reading(1.0)), time_ns), BatchReceived).record.channel_id.tolist() == [15]
