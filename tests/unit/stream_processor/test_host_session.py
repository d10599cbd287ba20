"""The Sparkplug host's state machine: births, deaths, sequence, identity, quarantine."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import uplink
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.quality import REASONS, Reason, SparkplugQuality
from contracts.query import AgentLosses
from contracts.ranges import RangeSet
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, decode_payload, encode_payload
from contracts.uplink import BatchIdentity
from stream_processor.effects import BatchReceived, CommandDue
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession, acknowledgement, resend_request
from stream_processor.pipeline.quality_control import find_clock_faults

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


def test_a_batch_that_its_gateway_had_to_thin_to_nothing_is_still_that_batch(born, voice, time_ns):
    thinned = Metric(name=uplink.THINNED, datatype=DataType.UINT64, value=200)
    batch = only(born.step(*voice.ddata(5, thinned), time_ns), BatchReceived)
    assert batch.identity == BatchIdentity("gw-1", 7, 5), "it is stored as received, and acknowledged: no gap"
    assert batch.record.channel_id.tolist() == []
    assert batch.thinned_readings == 200


def test_of_a_batch_with_readings_that_was_thinned_the_host_knows_how_many_are_missing(born, voice, reading, time_ns):
    thinned = Metric(name=uplink.THINNED, datatype=DataType.UINT64, value=196)
    plain = [reading(float(number)) for number in range(4)]
    assert only(born.step(*voice.ddata(5, *plain, thinned), time_ns), BatchReceived).thinned_readings == 196
    assert only(born.step(*voice.ddata(6, *plain), time_ns), BatchReceived).thinned_readings == 0


def losses_of(session):
    return session.edge_nodes["harbour", "gw-1"].losses


def counters(**totals):
    names = {
        "thinned": uplink.THINNED,
        "discarded": uplink.DISCARDED,
        "samples": uplink.DISCARDED_SAMPLES,
        "set_aside": uplink.SPOOLS_SET_ASIDE,
    }
    return [Metric(name=names[name], datatype=DataType.UINT64, value=total) for name, total in totals.items()]


def test_what_an_agent_had_to_give_up_is_known_from_its_birth_and_from_what_it_tells_later(session, voice, time_ns):
    session.step(*voice.nbirth(), time_ns)
    assert losses_of(session) is None, "an edge node that counts nothing is not said to have lost nothing"
    topic, octets = voice.nbirth()
    birth = decode_payload(octets)
    birth.metrics.extend(counters(thinned=500, discarded=3, samples=9))
    session.step(topic, encode_payload(birth), time_ns + 1)
    assert losses_of(session) == AgentLosses(
        thinned_readings_total=500, discarded_readings_total=3, discarded_samples_total=9, since_ns=time_ns + 1
    )
    for number, count in enumerate((500, 700)):
        told = Payload(time_ns // 1_000_000, counters(thinned=count), 1 + number)
        octets = encode_payload(told, with_datatypes=False)
        session.step("spBv1.0/harbour/NDATA/gw-1", octets, time_ns + 2 + number)
    assert losses_of(session) == AgentLosses(
        thinned_readings_total=700, discarded_readings_total=3, discarded_samples_total=9, since_ns=time_ns + 3
    )


@pytest.mark.parametrize("total", [-1, "many", True, 1.5])
def test_a_counter_that_is_no_count_is_passed_over(session, voice, time_ns, total):
    types = {int: DataType.INT64, str: DataType.STRING, bool: DataType.BOOLEAN, float: DataType.DOUBLE}
    topic, octets = voice.nbirth()
    birth = decode_payload(octets)
    birth.metrics.append(Metric(name=uplink.THINNED, datatype=types[type(total)], value=total))
    session.step(topic, encode_payload(birth), time_ns)
    assert losses_of(session) is None


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


# --- order by seq ----------------------------------------------------------------------------------------------------


def values_of(effects):
    return [value for each in effects if isinstance(each, BatchReceived) for value in each.record.value.tolist()]


@pytest.fixture
def foreign(session, third_party_voice, time_ns):
    """An edge node without batch identity: its order counts."""
    session.step(*third_party_voice.nbirth(), time_ns)
    session.step(*third_party_voice.dbirth(), time_ns)
    return third_party_voice


def test_a_batch_of_our_agent_after_a_hole_is_taken_at_once_and_the_rebirth_is_asked_for_when_time_is_up(
    born, voice, reading, time_ns
):
    voice.seq += 1
    assert values_of(born.step(*voice.ddata(1, reading(1.0)), time_ns)) == [1.0]
    assert born.tick(time_ns + 2 * SECOND_NS - 1) == []
    assert is_rebirth_request(only(born.tick(time_ns + 2 * SECOND_NS), CommandDue))


def test_a_missing_message_that_comes_in_time_ends_the_timer_and_nobody_asks_for_a_rebirth(
    session, foreign, reading, time_ns
):
    first, second = foreign.ddata(None, reading(1.0)), foreign.ddata(None, reading(2.0))
    assert session.step(*second, time_ns) == []
    assert values_of(session.step(*first, time_ns + SECOND_NS)) == [1.0, 2.0]
    assert session.tick(time_ns + 60 * SECOND_NS) == []
    assert values_of(session.step(*foreign.ddata(None, reading(3.0)), time_ns + 60 * SECOND_NS)) == [3.0]


def test_what_waited_for_a_missing_message_is_taken_with_the_rebirth_request_and_keeps_its_time_of_receipt(
    session, foreign, reading, time_ns
):
    foreign.seq += 1
    assert session.step(*foreign.ddata(None, reading(2.0)), time_ns + 7) == []
    effects = session.tick(time_ns + 7 + 2 * SECOND_NS)
    assert is_rebirth_request(effects[0])
    assert values_of(effects) == [2.0]
    assert effects[1].record.received_ns.tolist() == [time_ns + 7]
    assert values_of(session.step(*foreign.ddata(None, reading(3.0)), time_ns + 3 * SECOND_NS)) == [3.0]


def test_the_reorder_timeout_is_the_configured_one_and_zero_waits_for_nothing(
    fleet, third_party_voice, reading, time_ns
):
    for timeout_ns in (0, 5 * SECOND_NS):
        session = HostSession(FleetIndex(fleet), timeout_ns)
        session.step(*third_party_voice.nbirth(), time_ns)
        session.step(*third_party_voice.dbirth(), time_ns)
        third_party_voice.seq += 1
        effects = session.step(*third_party_voice.ddata(None, reading(2.0)), time_ns)
        assert bool(effects) is (timeout_ns == 0)
        if timeout_ns:
            assert session.tick(time_ns + timeout_ns - 1) == []
            effects = session.tick(time_ns + timeout_ns)
        assert is_rebirth_request(effects[0])
        assert values_of(effects) == [2.0]


def test_a_rebirth_request_that_nobody_follows_is_repeated_with_back_off_until_the_birth(
    session, foreign, reading, time_ns
):
    foreign.seq += 1
    session.step(*foreign.ddata(None, reading(2.0)), time_ns)
    asked = [second for second in range(40) if session.tick(time_ns + second * SECOND_NS)]
    assert asked == [2, 4, 8, 16, 32]
    session.step(*foreign.nbirth(), time_ns)
    assert session.tick(time_ns + 4000 * SECOND_NS) == []


def test_a_dead_gateway_is_asked_for_no_rebirth(session, foreign, reading, time_ns):
    foreign.seq += 1
    session.step(*foreign.ddata(None, reading(2.0)), time_ns)
    assert values_of(session.step(*foreign.ndeath(), time_ns)) == [2.0]
    assert session.tick(time_ns + 60 * SECOND_NS) == []


def test_data_that_overtook_the_birth_which_names_them_wait_for_it(session, voice, reading, time_ns):
    session.step(*voice.nbirth(), time_ns)
    birth, batch = voice.dbirth(), voice.ddata(1, reading(1.0))
    assert session.step(*batch, time_ns) == []
    assert values_of(session.step(*birth, time_ns)) == [1.0]


def test_data_that_overtook_their_birth_are_decoded_with_its_data_types(session, third_party_voice, time_ns):
    voice = third_party_voice
    session.step(*voice.nbirth(), time_ns)
    level = Metric(name="gas-001/methane_lel", alias=9, timestamp_ms=1, datatype=DataType.INT16, value=1)
    birth = ("spBv1.0/harbour/DBIRTH/gw-1/tcp", encode_payload(Payload(1, [level], 1)))
    octets = bytes.fromhex("0801 1208 1009 1801 50fbff03 1802")
    assert session.step("spBv1.0/harbour/DDATA/gw-1/tcp", octets, time_ns) == []
    assert values_of(session.step(*birth, time_ns)) == [1.0, -5.0]


def test_messages_that_overtook_their_node_birth_are_taken_after_it(session, foreign, reading, time_ns):
    node_birth, _ = foreign.nbirth(bd_seq=4)
    later = [
        Metric(name="bdSeq", datatype=DataType.UINT64, value=4),
        Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=False),
    ]
    born_ms = time_ns // 1_000_000 + 500
    birth = encode_payload(Payload(born_ms, later, 0))
    metric = Metric(name="gas-001/methane_lel", alias=7, timestamp_ms=born_ms + 1, datatype=DataType.DOUBLE, value=4.0)
    device = ("spBv1.0/harbour/DBIRTH/gw-1/tcp", encode_payload(Payload(born_ms + 1, [metric], 1)))
    waiting = foreign.ddata(None, reading(2.0))
    assert session.step(waiting[0], encode_payload(Payload(born_ms - 9, [reading(2.0)], 9)), time_ns) == []
    assert session.step(*device, time_ns) == []
    assert values_of(session.step(node_birth, birth, time_ns)) == [2.0, 4.0]
    assert session.edge_nodes["harbour", "gw-1"].devices["tcp"].is_online
    assert session.tick(time_ns + 60 * SECOND_NS) == []


def test_half_a_turn_of_seq_later_the_missing_one_is_given_up_without_waiting_for_the_clock(
    session, foreign, reading, time_ns
):
    foreign.seq += 1
    taken = []
    for count in range(300):
        taken += session.step(*foreign.ddata(None, reading(float(count))), time_ns)
    assert len([effect for effect in taken if isinstance(effect, CommandDue)]) == 1
    assert values_of(taken) == [float(count) for count in range(300)]


def test_losing_our_broker_keeps_what_waits_and_asks_nothing_of_a_broker_that_is_gone(
    session, foreign, reading, time_ns
):
    foreign.seq += 1
    session.step(*foreign.ddata(None, reading(2.0)), time_ns)
    effects = session.lose_connection(time_ns)
    assert values_of(effects) == [2.0]
    assert not [effect for effect in effects if isinstance(effect, CommandDue)]
    assert session.tick(time_ns + 60 * SECOND_NS) == []


def test_data_without_seq_are_taken_and_a_rebirth_is_asked_for(born, reading, time_ns):
    payload = encode_payload(Payload(time_ns // 1_000_000, [reading(1.0)]))
    effects = born.step("spBv1.0/harbour/DDATA/gw-1/tcp", payload, time_ns)
    assert values_of(effects) == [1.0]
    assert is_rebirth_request(effects[-1])


# --- what a host owes to edge nodes ----------------------------------------------------------------------------------


def test_a_rebirth_request_is_an_ncmd_with_the_metric_true_a_timestamp_and_no_seq(session, voice, reading, time_ns):
    asked = only(session.step(*voice.ddata(1, reading(1.0)), time_ns), CommandDue)
    assert asked.topic == "spBv1.0/harbour/NCMD/gw-1"
    payload = decode_payload(asked.payload)
    assert payload.timestamp_ms == time_ns // 1_000_000
    assert payload.seq is None
    metric = payload.metrics[0]
    assert (len(payload.metrics), metric.name, metric.value) == (1, "Node Control/Rebirth", True)
    assert metric.datatype is DataType.BOOLEAN


def test_acknowledgements_and_resend_requests_are_ncmds_of_the_types_that_uplink_says(born, time_ns):
    edge_node = born.edge_nodes["harbour", "gw-1"]
    for build, names in (
        (acknowledgement, [uplink.ACK_EPOCH, uplink.ACK_RANGES]),
        (resend_request, [uplink.RESEND_EPOCH, uplink.RESEND_RANGES]),
    ):
        due = build(edge_node, 7, RangeSet([(2, 4)]), time_ns)
        assert due.topic == "spBv1.0/harbour/NCMD/gw-1"
        payload = decode_payload(due.payload)
        assert (payload.timestamp_ms, payload.seq) == (time_ns // 1_000_000, None)
        assert [metric.name for metric in payload.metrics] == names
        assert [metric.datatype for metric in payload.metrics] == [DataType.UINT64, DataType.UINT64_ARRAY]
        assert [metric.value for metric in payload.metrics] == [7, [2, 4]]


def test_a_gateway_death_marks_node_and_devices_offline_and_all_their_channels_stale_by_our_clock(born, voice, time_ns):
    died_ns = time_ns + 90 * SECOND_NS
    lost = only(born.step(*voice.ndeath(bd_seq=3), died_ns), ChannelsLost)
    edge_node = born.edge_nodes["harbour", "gw-1"]
    assert (edge_node.is_online, edge_node.changed_ns) == (False, died_ns)
    device = edge_node.devices["tcp"]
    assert (device.is_online, device.changed_ns) == (False, died_ns)
    assert (set(lost.channel_ids), lost.time_ns) == ({11, 12, 14}, died_ns)
    assert REASONS[lost.reason].sparkplug is SparkplugQuality.STALE


def test_a_device_death_marks_the_device_offline_and_its_channels_stale_by_the_time_in_the_ddeath(born, voice, time_ns):
    lost = only(born.step(*voice.ddeath("tcp"), time_ns + 3 * SECOND_NS), ChannelsLost)
    edge_node = born.edge_nodes["harbour", "gw-1"]
    assert edge_node.is_online
    assert (edge_node.devices["tcp"].is_online, edge_node.devices["tcp"].changed_ns) == (False, time_ns)
    assert (set(lost.channel_ids), lost.time_ns) == ({11, 14}, time_ns)
    assert REASONS[lost.reason].sparkplug is SparkplugQuality.STALE


def test_a_device_death_by_a_wrong_clock_counts_from_its_receipt(born, voice, time_ns):
    for received_ns in (time_ns + 61 * SECOND_NS, time_ns - 61 * SECOND_NS):
        lost = only(born.step(*voice.ddeath("tcp"), received_ns), ChannelsLost)
        assert lost.time_ns == received_ns


def test_a_device_of_a_third_party_that_is_named_unlike_our_bus_takes_its_own_channels_with_it(
    session, third_party_voice, time_ns
):
    session.step(*third_party_voice.nbirth(), time_ns)
    session.step(*third_party_voice.dbirth(("gas-001/methane_lel", "gas-999/level"), bus="PLC 7"), time_ns)
    assert only(session.step(*third_party_voice.ddeath("PLC 7"), time_ns), ChannelsLost).channel_ids == (11,)


# --- times from the future -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead_ms", [61_000, 400 * 365 * 86_400_000])
def test_a_reading_from_the_future_is_kept_to_be_judged_and_its_gateway_is_put_on_the_list_once_an_hour(
    born, voice, reading, time_ns, ahead_ms
):
    at_ms = time_ns // 1_000_000 + ahead_ms
    reported = []
    for minute in range(61):
        received_ns = time_ns + minute * 60 * SECOND_NS
        batch = only(
            born.step(*voice.ddata(minute, reading(60.0, at_ms=at_ms + minute * 60_000)), received_ns), BatchReceived
        )
        assert batch.record.value.tolist() == [60.0]
        is_fault = find_clock_faults(batch.record.phenomenon_ns, batch.record.received_ns, batch.record.is_historical)
        assert is_fault[0] or batch.record.reason[0] == Reason.CLOCK_SUSPECT
        reported += [(minute, bad.reason) for bad in batch.refused]
    assert reported == [(0, "timestamp_from_future"), (60, "timestamp_from_future")]


def test_a_time_that_no_calendar_has_becomes_the_time_of_receipt_and_bad_stays_bad(born, voice, reading, time_ns):
    batch = only(
        born.step(*voice.ddata(1, reading(1.0, at_ms=2**63), reading(None, at_ms=2**63, quality=0)), time_ns),
        BatchReceived,
    )
    assert batch.record.phenomenon_ns.tolist() == [time_ns, time_ns]
    assert batch.record.reason.tolist() == [Reason.CLOCK_SUSPECT, Reason.DEVICE_FAULT]


def test_a_minute_ahead_is_no_fault_of_the_clock(born, voice, reading, time_ns):
    at_ms = time_ns // 1_000_000 + 60_000
    assert only(born.step(*voice.ddata(1, reading(1.0, at_ms=at_ms)), time_ns), BatchReceived).refused == ()


def test_seq_wraps_at_256_without_a_rebirth_request(born, voice, reading, time_ns):
    for batch in range(1, 600):
        only(born.step(*voice.ddata(batch, reading(1.0)), time_ns), BatchReceived)


def test_a_gateway_death_with_the_births_bdseq_loses_all_its_channels(born, voice, time_ns):
    lost = only(born.step(*voice.ndeath(bd_seq=3), time_ns), ChannelsLost)
    assert set(lost.channel_ids) == {11, 12, 14}
    assert lost.reason is Reason.GATEWAY_LOST


def test_a_gateway_death_that_is_said_twice_is_one(born, voice, time_ns):
    only(born.step(*voice.ndeath(bd_seq=3), time_ns), ChannelsLost)
    assert born.step(*voice.ndeath(bd_seq=3), time_ns) == []
    born.step(*voice.nbirth(), time_ns)
    only(born.step(*voice.ndeath(bd_seq=3), time_ns), ChannelsLost)


def test_a_gateway_that_dies_after_our_own_connection_was_lost_is_dead_all_the_same(born, voice, time_ns):
    born.lose_connection(time_ns)
    assert only(born.step(*voice.ndeath(bd_seq=3), time_ns), ChannelsLost).reason is Reason.GATEWAY_LOST


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


def test_lost_batches_need_no_datatype_in_a_data_message(born, time_ns):
    metrics = [
        Metric(name=uplink.LOST_EPOCH, datatype=DataType.UINT64, value=7),
        Metric(name=uplink.LOST_RANGES, datatype=DataType.UINT64_ARRAY, value=[2, 4, 9, 9]),
    ]
    payload = encode_payload(Payload(1, metrics, 2), with_datatypes=False)
    assert only(born.step("spBv1.0/harbour/NDATA/gw-1", payload, time_ns), BatchesLost).ranges == ((2, 4), (9, 9))
    torn = [metrics[0], Metric(name=uplink.LOST_RANGES, datatype=DataType.BYTES, value=b"1234567")]
    octets = encode_payload(Payload(1, torn, 3), with_datatypes=False)
    effects = born.step("spBv1.0/harbour/NDATA/gw-1", octets, time_ns)
    assert not [effect for effect in effects if isinstance(effect, BatchesLost)]


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
