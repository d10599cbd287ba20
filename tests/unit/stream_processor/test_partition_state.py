"""What the score job knows of a partition: each batch once, the log alone decides, a snapshot continues bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.kafka_topic import ALARM_CONDITIONS, SCORED, partition_of
from contracts.notice import BatchesLost, Quarantined
from contracts.quality import Reason
from contracts.record import Record, empty_record
from contracts.record_message import (
    ObservationMessage,
    decode_observations,
    decode_scored,
    encode_observations,
    encode_scored,
)
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommandKind
from stream_processor.distributed.outcome_messages import messages_of
from stream_processor.distributed.partition_state import NOT_A_RECORD, PartitionState
from stream_processor.fleet_index import restrict_fleet
from tests.observed_city import CHANNELS_OF_GATEWAY, SECOND_NS, START_NS, ObservedCity

DETECTED_NS = START_NS


def bytes_of(outcome):
    """All that leaves the job for a message."""
    return [(each.topic.name, each.key, each.value) for each in messages_of([(0, outcome)])]


def run(state, messages, first=0):
    return [bytes_of(state.take(offset, message, DETECTED_NS)) for offset, message in enumerate(messages, start=first)]


def messages_of_city(seconds, gateways=4, seed=1):
    city = ObservedCity(gateways, 1, seed)
    return city.fleet, [message for _, message in city.seconds(seconds)]


def test_the_same_log_gives_the_same_bytes():
    fleet, messages = messages_of_city(120)
    assert run(PartitionState(0, fleet), messages) == run(PartitionState(0, fleet), messages)


@pytest.mark.parametrize("cut", [1, 35, 77, 119])
def test_a_restored_state_goes_on_as_if_nothing_had_happened(cut):
    fleet, messages = messages_of_city(120)
    unbroken = PartitionState(0, fleet)
    expected = run(unbroken, messages)
    first = PartitionState(0, fleet)
    before = run(first, messages[:cut])
    second = PartitionState.restore(first.snapshot(), fleet)
    assert second.next_offset == cut
    after = run(second, messages[cut:], cut)
    assert without_requests(before + after) == without_requests(expected)
    assert second.totals == unbroken.totals
    names = {name for message in expected for name, _, _ in message}
    assert {SCORED.name, ALARM_CONDITIONS.name} <= names, "nothing was there to be wrong"


def without_requests(messages):
    """Requests to send again have their own patience, which begins anew: they change nothing that is stored."""
    return [[each for each in message if each[0] != "uplink.commands"] for message in messages]


def test_a_batch_that_comes_again_is_not_in_the_record_and_is_acknowledged_again():
    fleet, messages = messages_of_city(2)
    state = PartitionState(0, fleet)
    first = state.take(0, messages[0], DETECTED_NS).scored
    second = state.take(1, messages[0], DETECTED_NS).scored
    assert len(first.record) > 0
    assert len(second.record) == 0
    assert second.record.batches == ()
    assert set(second.duplicates) == {each for each in first.record.batches if each is not None}
    assert set(second.identities()) == set(first.identities())
    assert state.totals.observations == len(first.record)
    assert state.totals.duplicate_batches == len(second.duplicates)


def newest_ledger(fleet, messages):
    """What is told last of the only gateway of a city."""
    state, told = PartitionState(0, fleet), []
    for offset, message in enumerate(messages):
        told += state.take(offset, decode_observations(encode_observations(message)), DETECTED_NS).completeness
    return told[-1]


def counts_of(ledger):
    """Batches stored and expected, over all hours: clocks of this city are wrong now and then."""
    return sum(hour.stored_batches for hour in ledger.hours), sum(hour.expected_batches for hour in ledger.hours)


def test_what_gateways_thinned_is_told_with_their_ledger_and_a_batch_of_nothing_leaves_no_gap_in_its_hour():
    city = ObservedCity(1, 1)
    whole = [message for _, message in city.seconds(400)]
    at = next(at for at, each in enumerate(whole) if at > 100 and len(each.record.batches) == 1)
    nothing = dataclasses.replace(empty_record(), batches=whole[at].record.batches)
    emptied = dataclasses.replace(whole[at], record=nothing, thinned=((0, 40),))
    before = newest_ledger(city.fleet, whole)
    after = newest_ledger(city.fleet, [*whole[:at], emptied, emptied, *whole[at + 1 :]])
    assert [row.thinned_readings for row in after.epochs] == [40], "it came twice, and was thinned once"
    assert [row.missing_ranges for row in after.epochs] == [row.missing_ranges for row in before.epochs]
    assert counts_of(after) == counts_of(before)


def test_of_a_batch_twice_in_one_message_the_second_is_left_out_with_its_rows():
    city = ObservedCity(1, 1)
    twice = next(message for _, message in city.seconds(200) if len(message.record.batches) == 2)
    identity = twice.record.batches[0]
    scored = PartitionState(0, city.fleet).take(0, twice, DETECTED_NS).scored
    assert twice.record.batches == (identity, identity)
    assert scored.record.batches == (identity,)
    assert scored.duplicates == (identity,)
    assert len(scored.record) * 2 == len(twice.record)
    assert set(scored.record.batch_index.tolist()) == {0}


def test_bad_input_of_a_duplicate_batch_is_not_set_aside_again():
    fleet, (message,) = messages_of_city(1)
    bad = Quarantined(START_NS, "topic", "unknown_channel", "x", b"")
    message = dataclasses.replace(message, quarantined=((0, bad), (None, bad)))
    state = PartitionState(0, fleet)
    assert len(state.take(0, message, DETECTED_NS).quarantined) == 2
    assert len(state.take(1, message, DETECTED_NS).quarantined) == 1
    assert state.totals.quarantined == 3


def test_bytes_that_are_no_message_are_quarantined_and_a_message_without_rows_stands_in_their_place():
    fleet, messages = messages_of_city(2)
    state = PartitionState(0, fleet)
    state.take(0, messages[0], DETECTED_NS)
    outcome = state.take(1, state.parse(b"poison"), DETECTED_NS)
    assert [(bad.reason, bad.payload) for bad in outcome.quarantined] == [(NOT_A_RECORD, b"poison")]
    assert outcome.scored.source_offset == 1
    assert len(outcome.scored.record) == 0
    assert state.next_offset == 2
    assert len(state.take(2, messages[1], DETECTED_NS).scored.record) > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"batches": (BatchIdentity("gw-000", 3, -1),)},
        {"batches": (BatchIdentity("gw-000", "x", 1),)},
        {"lost": (BatchesLost("gw-000", 3, ((4, 2),)),)},
        {"lost": (BatchesLost("gw-000", 3, ((1, 2**64),)),)},
        {"quarantined": ((1, Quarantined(0, "t", "r", "d", b"")),)},
    ],
)
def test_a_message_with_numbers_that_cannot_be_is_quarantined_and_does_not_stop_the_job(wrong):
    fleet, _ = messages_of_city(0)
    record = dataclasses.replace(empty_record(), batches=wrong.get("batches", (None,)))
    lost, quarantined = wrong.get("lost", ()), wrong.get("quarantined", ())
    state = PartitionState(0, fleet)
    outcome = state.take(
        0, state.parse(encode_observations(ObservationMessage(START_NS, record, quarantined, lost))), DETECTED_NS
    )
    assert [bad.reason for bad in outcome.quarantined] == [NOT_A_RECORD]


def test_what_the_pipeline_cannot_take_is_stored_unscored_and_the_rest_of_the_message_is_scored(monkeypatch):
    fleet, messages = messages_of_city(60)
    state = PartitionState(0, fleet)
    messages = [each for each in messages if len(set(each.record.batches)) == len(each.record.batches)]
    run(state, messages[:40])
    message = messages[40]
    whole_step = type(state.pipeline).step
    culprit = int(message.record.channel_id[0])

    def step(pipeline, record, detected_ns):
        if culprit in record.channel_id:
            raise ZeroDivisionError("a defect")
        return whole_step(pipeline, record, detected_ns)

    monkeypatch.setattr(type(state.pipeline), "step", step)
    outcome = state.take(40, message, DETECTED_NS)
    record = outcome.scored.record
    hit = record.channel_id < culprit + 5
    assert sorted(record.channel_id.tolist()) == sorted(message.record.channel_id.tolist())
    assert np.isnan(outcome.scored.score_ewma_z[hit]).all()
    assert not np.isnan(outcome.scored.score_ewma_z[~hit & (record.reason == Reason.OK)]).any()
    assert state.totals.unscored_messages == 1
    assert "a defect" in outcome.failures[0]
    assert encode_scored(outcome.scored)


def test_readings_of_channels_that_the_fleet_does_not_know_yet_are_kept():
    fleet, messages = messages_of_city(3)
    known = fleet.model_copy(update={"channels": fleet.channels[:5], "conditions": []})
    state = PartitionState(0, known)
    assert not state.knows_all(messages[0].record)
    scored = state.take(0, messages[0], DETECTED_NS).scored
    assert sorted(scored.record.channel_id.tolist()) == sorted(messages[0].record.channel_id.tolist())
    assert scored.record.batches == messages[0].record.batches
    by_channel = dict(zip(scored.record.channel_id.tolist(), scored.record.batch_index.tolist(), strict=True))
    expected = messages[0].record
    assert by_channel == dict(zip(expected.channel_id.tolist(), expected.batch_index.tolist(), strict=True))
    assert encode_scored(scored)
    state.take_fleet(fleet)
    assert state.knows_all(messages[1].record)


def test_a_gap_is_asked_for_once_it_has_lasted_and_told_in_the_completeness():
    fleet, _ = messages_of_city(0, gateways=1)
    state = PartitionState(0, fleet)
    commands, told = [], []
    for second in range(60):
        batches = (BatchIdentity("gw-000", 3, 4),) if second == 0 else ()
        made_ns = START_NS + second * SECOND_NS
        message = ObservationMessage(made_ns, dataclasses.replace(empty_record(), batches=batches))
        outcome = state.take(second, message, DETECTED_NS)
        commands += outcome.commands
        told += outcome.completeness
    assert [(each.kind, each.gateway_id, each.epoch, each.flat_ranges) for each in commands] == [
        (UplinkCommandKind.RESEND, "gw-000", 3, (1, 3))
    ]
    assert told[-1].epochs[0].missing_ranges == [(1, 3)]
    assert told[-1].district_id == "harbour"


def test_batches_that_are_lost_for_good_are_not_asked_for_and_told_on():
    fleet, _ = messages_of_city(0, gateways=1)
    state = PartitionState(0, fleet)
    lost = (BatchesLost("gw-000", 3, ((1, 3),)),)
    batches = dataclasses.replace(empty_record(), batches=(BatchIdentity("gw-000", 3, 4),))
    outcome = state.take(0, ObservationMessage(START_NS, batches, batches_lost=lost), DETECTED_NS)
    assert outcome.scored.batches_lost == lost
    assert state.ledger.missing("gw-000") == {}
    assert PartitionState.restore(state.snapshot(), fleet).ledger.missing("gw-000") == {}


def test_late_data_raises_no_page():
    fleet, messages = messages_of_city(200)
    state = PartitionState(0, fleet)
    historical = [
        event
        for offset, message in enumerate(messages)
        for event in state.take(offset, message, DETECTED_NS).events
        if event.phenomenon_ns < START_NS - SECOND_NS
    ]
    assert historical, "no late reading went beyond a set-point"
    assert all(event.is_historical for event in historical)


@pytest.mark.parametrize("snapshot", [b"", b"citysense partition 2\n", b"citysense partition 1\n\x01"])
def test_what_is_no_snapshot_is_refused(snapshot):
    fleet, _ = messages_of_city(0)
    with pytest.raises(ValueError, match="not a snapshot"):
        PartitionState.restore(snapshot, fleet)


def test_all_that_follows_goes_to_the_partition_and_conditions_go_first():
    fleet, messages = messages_of_city(60)
    state = PartitionState(0, fleet)
    outcomes = [(3, state.take(offset, message, DETECTED_NS)) for offset, message in enumerate(messages)]
    sent = messages_of(outcomes)
    assert {each.partition for each in sent} == {3}
    names = [each.topic.name for each in sent]
    assert names.count(SCORED.name) == len(messages)
    conditions = names.count(ALARM_CONDITIONS.name)
    assert conditions > 0
    assert set(names[:conditions]) == {ALARM_CONDITIONS.name}


def test_a_partition_has_the_gateways_that_are_its_own():
    fleet = ObservedCity(40, 4).fleet
    parts = [restrict_fleet(fleet, number, 4) for number in range(4)]
    for number, part in enumerate(parts):
        assert {partition_of(row.gateway_id, 4) for row in part.gateways} == {number}
    assert sum(len(part.channels) for part in parts) == len(fleet.channels)
    assert encode_observations(ObservedCity(1, 1).next_second()[0][1])


def group_messages(fleet, frames, frames_a_message=4):
    """Gateway 0's channels, some minutes in a message, until its group has scores and beyond."""
    random = np.random.default_rng(2)
    channels = np.array([channel.channel_id for channel in fleet.channels[:CHANNELS_OF_GATEWAY]], dtype=np.uint32)
    for number in range(frames // frames_a_message):
        minutes = np.arange(number * frames_a_message, (number + 1) * frames_a_message)
        times_ns = START_NS + np.repeat(minutes, len(channels)) * 60 * SECOND_NS
        count = len(times_ns)
        common = np.repeat(random.normal(0.0, 1.0, frames_a_message), len(channels))
        record = Record(
            channel_id=np.tile(channels, frames_a_message),
            phenomenon_ns=times_ns,
            received_ns=times_ns,
            value=np.round(10.0 + common + random.normal(0.0, 0.2, count), 2),
            reason=np.zeros(count, dtype=np.uint8),
            is_historical=np.zeros(count, dtype=np.bool_),
            batch_index=np.zeros(count, dtype=np.int32),
            batches=(BatchIdentity("gw-000", 3, number + 1),),
        )
        yield ObservationMessage(START_NS, record)


def test_groups_say_the_same_whether_messages_are_taken_together_or_one_by_one_and_over_a_restore():
    """One time for all messages: nothing but their readings decides how many are taken in one step."""
    fleet, _ = messages_of_city(0, gateways=1)
    messages = list(enumerate(group_messages(fleet, frames=100)))
    single, together = PartitionState(0, fleet), PartitionState(0, fleet)
    one_by_one = [bytes_of(single.take(*each, DETECTED_NS)) for each in messages]
    at_once = [bytes_of(each) for each in together.take_all(messages[:18], DETECTED_NS)]
    restored = PartitionState.restore(together.snapshot(), fleet)
    at_once += [bytes_of(each) for each in restored.take_all(messages[18:], DETECTED_NS)]
    assert at_once == one_by_one
    last = decode_scored(one_by_one[-1][0][2])
    assert not np.isnan(last.other_scores[ConditionInput.SCORE_GROUP_DISTANCE]).any()
    assert restored.pipeline.groups.snapshot() == single.pipeline.groups.snapshot()
