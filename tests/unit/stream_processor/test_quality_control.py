"""Step, flat line, lateness by gateway, repeats, staleness: what the pipeline says with what it remembers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.fleet import FleetSnapshot
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.record import concatenate
from contracts.uplink import BatchIdentity
from stream_processor.detectors.contract import to_score
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.pipeline import Pipeline

SECOND_NS = 1_000_000_000
HOUR = 3_600.0
GAS, OTHER_GAS, OTHER_GATEWAY, TEMPERATURE, UNKNOWN = 11, 12, 13, 21, 999


@pytest.fixture
def pipeline(fleet):
    rows = fleet.model_dump(mode="json")
    rows["channels"].append({"channel_id": TEMPERATURE, "node_id": "gas-001", "quantity": "temperature"})
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(FleetSnapshot.model_validate(rows)))
    return pipeline


@pytest.fixture
def reasons(pipeline, record_of):
    """Steps one record of rows; gives the names of the reasons."""

    def step(*rows, **options):
        return [Reason(each).wire_name for each in pipeline.step(record_of(*rows, **options), 1).reason]

    return step


def delayed(record, seconds):
    """The same record, received later."""
    return replace(record, received_ns=record.received_ns + int(seconds * SECOND_NS))


# --- step ------------------------------------------------------------------------------------------------------------


def test_a_jump_faster_than_the_quantity_can_move_is_uncertain_and_still_pages(pipeline, record_of):
    scored = pipeline.step(record_of((GAS, 0, 1.0), (GAS, 1, 99.0)), 1)
    assert scored.reason.tolist() == [Reason.OK, Reason.STEP_SUSPECT]
    assert [event.state for event in scored.events] == ["active"]


def test_a_jump_is_measured_against_the_time_that_it_had(reasons):
    assert reasons((GAS, 0, 1.0), (GAS, 1, 50.0), (GAS, 1.5, 99.0)) == ["ok", "ok", "ok"], "half a second counts as one"
    assert reasons((GAS, 11.5, 1.0)) == ["ok"], "ten seconds are enough for the whole range"
    assert reasons((GAS, 12.0, 60.0)) == ["step_suspect"]


def test_a_jump_lasts_one_reading_and_bad_readings_in_between_do_not_hide_it(reasons):
    assert reasons((GAS, 0, 1.0), (GAS, 0.5, np.nan, Reason.NO_ANSWER), (GAS, 1, 90.0), (GAS, 2, 90.0)) == [
        "ok",
        "no_answer",
        "step_suspect",
        "ok",
    ]


def test_the_first_reading_ever_is_no_jump(reasons):
    assert reasons((GAS, 0, 104.0)) == ["ok"]


# --- flat line -------------------------------------------------------------------------------------------------------


def test_a_temperature_that_does_not_move_for_six_hours_is_a_flat_line_until_it_moves(reasons):
    told = [reasons((TEMPERATURE, minute * 60, 20.0))[0] for minute in range(0, 400, 10)]
    assert told == ["ok"] * 36 + ["flat_line"] * 4
    assert reasons((TEMPERATURE, 400 * 60, 20.04)) == ["flat_line"], "less than the resolution is no movement"
    assert reasons((TEMPERATURE, 401 * 60, 20.1)) == ["ok"]


def test_gas_at_zero_is_no_flat_line(reasons):
    assert {reasons((GAS, hour * HOUR, 0.0))[0] for hour in range(72)} == {"ok"}


def test_a_channel_that_comes_back_after_two_days_with_the_same_value_is_no_flat_line(reasons):
    assert reasons((TEMPERATURE, 0, 20.0), (TEMPERATURE, 48 * HOUR, 20.0)) == ["ok", "ok"]


def test_bad_and_late_readings_are_no_movement(reasons):
    for minute in range(0, 360, 10):
        reasons((TEMPERATURE, minute * 60, 20.0), (TEMPERATURE, minute * 60 + 1, np.nan, Reason.NO_ANSWER))
        reasons((TEMPERATURE, minute * 60, 35.0, 0, True))
    assert reasons((TEMPERATURE, 360 * 60, 20.0)) == ["flat_line"]


# --- late, or a wrong clock ------------------------------------------------------------------------------------------


def test_an_old_reading_of_a_gateway_that_sends_others_in_time_is_late_and_pages_nobody(pipeline, record_of):
    pipeline.step(record_of((OTHER_GAS, 600, 1.0), batch=None), 1)
    old = delayed(record_of((GAS, 0, 30.0), batch=None), 601)
    scored = pipeline.step(old, 1)
    assert scored.reason.tolist() == [Reason.OK]
    assert scored.is_late.tolist() == [True]
    assert [event.is_historical for event in scored.events] == [True]
    assert scored.event_ns.tolist() == old.phenomenon_ns.tolist()


def test_another_gateways_readings_say_nothing_about_this_ones_clock(pipeline, record_of):
    pipeline.step(record_of((OTHER_GATEWAY, 600, 1.0), batch=None), 1)
    scored = pipeline.step(delayed(record_of((GAS, 0, 30.0), batch=None), 601), 1)
    assert scored.reason.tolist() == [Reason.CLOCK_SUSPECT]
    assert [event.is_historical for event in scored.events] == [False]


@pytest.mark.parametrize("fell_at", [600, 607, 614])
def test_a_clock_that_falls_back_pages_after_half_a_minute_at_the_latest(pipeline, record_of, fell_at):
    pipeline.step(record_of((GAS, fell_at, 1.0)), 1)
    fallen = [delayed(record_of((GAS, fell_at + after - 600, 30.0)), 600) for after in range(1, 40)]
    is_late = [bool(pipeline.step(record, 1).is_late[0]) for record in fallen]
    late = is_late.index(False)
    assert 15 <= late <= 30
    assert not any(is_late[late:])


def test_a_new_epoch_begins_without_a_watermark(pipeline, record_of):
    pipeline.step(record_of((GAS, 600, 1.0), epoch=7), 1)
    fallen = delayed(record_of((GAS, 1, 30.0), epoch=8), 600)
    scored = pipeline.step(fallen, 1)
    assert scored.reason.tolist() == [Reason.CLOCK_SUSPECT]
    assert [event.is_historical for event in scored.events] == [False]


def test_a_spooled_batch_of_an_earlier_epoch_does_not_reset_the_watermark(pipeline, record_of):
    pipeline.step(record_of((OTHER_GAS, 600, 1.0), epoch=8), 1)
    pipeline.step(record_of((OTHER_GAS, 1, 1.0, 0, True), epoch=7), 1)
    assert pipeline.step(delayed(record_of((GAS, 0, 30.0), epoch=8), 601), 1).is_late.tolist() == [True]


def test_a_late_reading_is_scored_against_what_is_known_and_not_learnt(pipeline, record_of):
    for second in range(40):
        pipeline.step(record_of((GAS, second, second % 5)), 1)
    before = pipeline.scores.snapshot()
    scored = pipeline.step(record_of((GAS, 0, 20.0, 0, True), (GAS, 0, np.nan, Reason.NO_ANSWER, True)), 1)
    assert pipeline.scores.snapshot() == before
    assert scored.score_ewma_z[0] > to_score(5.0)
    assert np.isnan(scored.score_ewma_z[1])
    live = pipeline.step(record_of((GAS, 41, 20.0)), 1)
    assert live.score_ewma_z[0] == scored.score_ewma_z[0]


def test_a_reading_older_than_its_channels_newest_is_scored_as_history_too(pipeline, record_of):
    for second in range(40):
        pipeline.step(record_of((GAS, second, second % 5)), 1)
    before = pipeline.scores.snapshot()
    scored = pipeline.step(record_of((GAS, 38.5, 20.0)), 1)
    assert scored.is_late.tolist() == [True]
    assert scored.score_ewma_z[0] > to_score(5.0)
    assert pipeline.scores.snapshot() == before


# --- repeats ---------------------------------------------------------------------------------------------------------


def test_a_third_party_reading_that_comes_twice_is_taken_once(pipeline, record_of):
    first = pipeline.step(record_of((GAS, 0, 1.0), (GAS, 0, 1.0), (OTHER_GAS, 0, np.nan, 64), batch=None), 1)
    again = pipeline.step(record_of((GAS, 0, 1.0), (OTHER_GAS, 0, np.nan, 64), (GAS, 1, 1.0), batch=None), 1)
    assert (len(first.record), first.duplicates) == (2, 1)
    assert (again.record.channel_id.tolist(), again.duplicates) == ([GAS], 2)
    assert [len(column) for column in (again.row, again.event_ns, again.reason, again.score_ewma_z, again.is_late)] == [
        1
    ] * 5


def test_another_value_or_reason_at_the_same_time_is_no_repeat(pipeline, record_of):
    pipeline.step(record_of((GAS, 0, 1.0), batch=None), 1)
    scored = pipeline.step(record_of((GAS, 0, 2.0), (GAS, 0, 2.0, Reason.WARM_UP), batch=None), 1)
    assert scored.duplicates == 0
    assert scored.is_late.tolist() == [True, True]


def test_readings_of_numbered_batches_are_never_called_repeats(pipeline, record_of):
    pipeline.step(record_of((GAS, 0, 1.0), batch=1), 1)
    assert pipeline.step(record_of((GAS, 0, 1.0), batch=2), 1).duplicates == 0


# --- staleness -------------------------------------------------------------------------------------------------------


def hear_until(pipeline, record_of, time_ns, seconds, interval=1, channel=GAS):
    for second in range(0, seconds, interval):
        pipeline.step(record_of((channel, second, 1.0)), 1)
        assert pipeline.find_stale(time_ns + second * SECOND_NS) == []


def look_each_second(pipeline, time_ns, first, last):
    return [
        (second, lost) for second in range(first, last) for lost in pipeline.find_stale(time_ns + second * SECOND_NS)
    ]


def test_a_channel_that_falls_silent_is_stale_after_half_a_minute_once_until_it_is_heard(pipeline, record_of, time_ns):
    hear_until(pipeline, record_of, time_ns, 20)
    ((second, lost),) = look_each_second(pipeline, time_ns, 20, 200)
    assert 49 <= second <= 51
    assert lost == ChannelsLost("gw-1", (GAS,), Reason.STALE, time_ns + second * SECOND_NS)
    pipeline.step(record_of((GAS, 200, 1.0)), 1)
    assert [lost.channel_ids for _, lost in look_each_second(pipeline, time_ns, 201, 1_000)] == [(GAS,)]


def test_the_limit_is_three_times_the_channels_own_interval(pipeline, record_of, time_ns):
    for second in range(1_200):
        if second % 60 == 0:
            pipeline.step(record_of((GAS, second, 1.0)), 1)
        assert pipeline.find_stale(time_ns + second * SECOND_NS) == []
    ((second, _),) = look_each_second(pipeline, time_ns, 1_200, 2_000)
    assert 1_140 + 175 <= second <= 1_140 + 190


def test_one_outage_hardly_widens_the_limit(pipeline, record_of, time_ns):
    hear_until(pipeline, record_of, time_ns, 60)
    look_each_second(pipeline, time_ns, 60, 3_600)
    for second in range(3_600, 3_660):
        pipeline.step(record_of((GAS, second, 1.0)), 1)
        pipeline.find_stale(time_ns + second * SECOND_NS)
    ((second, _),) = look_each_second(pipeline, time_ns, 3_660, 3_800)
    assert second <= 3_692


def test_silence_of_the_log_is_not_the_channels_silence(pipeline, record_of, time_ns):
    hear_until(pipeline, record_of, time_ns, 20)
    assert pipeline.find_stale(time_ns + 600 * SECOND_NS) == [], "the bridge was away, not the gateway"
    ((second, _),) = look_each_second(pipeline, time_ns, 601, 700)
    assert second >= 629


def test_what_was_called_lost_is_not_called_stale_as_well(pipeline, record_of, time_ns):
    hear_until(pipeline, record_of, time_ns, 20)
    pipeline.take_lost(ChannelsLost("gw-1", (GAS, UNKNOWN), Reason.GATEWAY_LOST, time_ns + 20 * SECOND_NS))
    assert look_each_second(pipeline, time_ns, 20, 200) == []


def test_a_channel_that_answers_badly_ever_more_rarely_keeps_its_reason(pipeline, record_of, time_ns):
    hear_until(pipeline, record_of, time_ns, 20)
    pipeline.step(record_of((GAS, 20, np.nan, Reason.NO_ANSWER)), 1)
    assert look_each_second(pipeline, time_ns, 20, 300) == []


def test_a_channel_that_was_never_heard_is_not_stale(pipeline, time_ns):
    assert look_each_second(pipeline, time_ns, 0, 5_000) == []


@pytest.mark.parametrize("change", ["retired", "removed"])
def test_a_channel_that_has_left_the_fleet_is_not_stale(pipeline, fleet, record_of, time_ns, change):
    hear_until(pipeline, record_of, time_ns, 20)
    rows = fleet.model_dump(mode="json")
    if change == "retired":
        rows["nodes"][0]["state"] = "retired"
    else:
        rows["channels"], rows["conditions"] = rows["channels"][1:], []
    pipeline.take_fleet(FleetIndex(FleetSnapshot.model_validate(rows)))
    assert look_each_second(pipeline, time_ns, 20, 200) == []


def test_readings_that_arrive_together_are_one_hearing(pipeline, record_of, time_ns):
    for second in range(1_200):
        if second % 60 == 0:
            record = record_of(*((GAS, second - ago, 1.0) for ago in range(9, -1, -1)))
            pipeline.step(replace(record, received_ns=np.full(10, record.received_ns[-1])), 1)
        assert pipeline.find_stale(time_ns + second * SECOND_NS) == []


# --- channels and failures -------------------------------------------------------------------------------------------


def test_a_channel_that_the_fleet_does_not_have_yet_is_taken_without_limits_and_gets_them_later(
    pipeline, fleet, record_of
):
    scored = pipeline.step(record_of((UNKNOWN, 0, 1e9), (GAS, 0, 1.0), (UNKNOWN, 1, 1e300)), 1)
    assert scored.reason.tolist() == [Reason.OK, Reason.OK, Reason.OUT_OF_RANGE]
    rows = fleet.model_dump(mode="json")
    rows["channels"].append({"channel_id": UNKNOWN, "node_id": "gas-001", "quantity": "temperature"})
    pipeline.take_fleet(FleetIndex(FleetSnapshot.model_validate(rows)))
    assert pipeline.step(record_of((UNKNOWN, 2, 1e9), (GAS, 2, 1.0)), 1).reason.tolist() == [
        Reason.OUT_OF_RANGE,
        Reason.OK,
    ]


@pytest.mark.parametrize("failing", ["score_and_learn", "evaluate"])
def test_a_failing_step_leaves_everything_but_the_detector_as_it_was(pipeline, record_of, monkeypatch, failing):
    record = concatenate([record_of((GAS, 0, 1.0), (GAS, 1, 30.0), batch=None), record_of((OTHER_GAS, 1, 2.0))])
    fresh = pipeline.snapshot()

    def fail(*_):
        raise RuntimeError("defect")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.scores if failing == "score_and_learn" else pipeline.conditions, failing, fail)
        if failing == "evaluate":
            patch.setattr(pipeline.scores, "score_and_learn", lambda *_: None)
            patch.setattr(pipeline.groups, "score_and_learn", lambda *_: None)
        with pytest.raises(RuntimeError):
            pipeline.step(record, 1)
    assert pipeline.snapshot() == fresh


@pytest.mark.parametrize("failing_call", [2, 3])
def test_a_step_that_fails_in_the_middle_of_its_conditions_loses_no_event(
    pipeline, record_of, monkeypatch, failing_call
):
    record = record_of((GAS, 0, 30.0), (GAS, 1, 1.0), (GAS, 2, 31.0))
    real, calls = pipeline.conditions._step_reading, []

    def fail_in_the_middle(*arguments):
        calls.append(1)
        if len(calls) == failing_call:
            raise RuntimeError("defect")
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.conditions, "_step_reading", fail_in_the_middle)
        with pytest.raises(RuntimeError):
            pipeline.step(record, 1)
    assert [event.state for event in pipeline.step(record, 1).events] == ["active", "normal", "active"]


def test_a_restored_pipeline_returns_what_the_next_fleet_withdraws(pipeline, fleet, record_of):
    pipeline.step(record_of((GAS, 0, 30.0)), 1)
    restored = Pipeline()
    restored.restore(pipeline.snapshot())
    restored.take_fleet(FleetIndex(fleet.model_copy(update={"conditions": []})), 77)
    pipeline.take_fleet(FleetIndex(fleet.model_copy(update={"conditions": []})), 77)
    events = restored.step(record_of((OTHER_GAS, 1, 1.0)), 1).events
    assert events == pipeline.step(record_of((OTHER_GAS, 1, 1.0)), 1).events
    assert [(event.condition_id, event.state, event.phenomenon_ns) for event in events] == [
        ("gas-001-high", "normal", 77)
    ]


@pytest.mark.parametrize("snapshot", [b"", b"no snapshot", b"PK\x03\x04" + bytes(40)])
def test_restore_refuses_what_is_no_snapshot(snapshot):
    with pytest.raises(ValueError, match=r"."):
        Pipeline().restore(snapshot)


def test_a_batch_of_two_gateways_in_one_record_resets_only_its_own_watermark(pipeline, record_of):
    pipeline.step(concatenate([record_of((GAS, 600, 1.0)), record_of((OTHER_GATEWAY, 600, 1.0), gateway="gw-2")]), 1)
    both = concatenate(
        [
            delayed(record_of((GAS, 1, 1.0), epoch=8), 600),
            delayed(record_of((OTHER_GATEWAY, 1, 1.0), gateway="gw-2"), 600),
        ]
    )
    assert both.batches == (BatchIdentity("gw-1", 8, 1), BatchIdentity("gw-2", 7, 1))
    assert pipeline.step(both, 1).is_late.tolist() == [False, True]
