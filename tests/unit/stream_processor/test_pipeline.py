"""Quality control, lateness, last values: what the pipeline says of a record."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.quality import Reason
from stream_processor.fleet_index import FleetIndex
from stream_processor.latest_table import LatestTable
from stream_processor.pipeline.pipeline import Pipeline

MINUTE = 60.0


@pytest.fixture
def pipeline(fleet):
    pipeline = Pipeline()
    pipeline.take_fleet(FleetIndex(fleet))
    return pipeline


def test_an_implausible_value_is_bad_and_raises_no_alarm(pipeline, record_of):
    scored = pipeline.step(record_of((11, 0, 900.0)), 1)
    assert scored.reason.tolist() == [Reason.OUT_OF_RANGE]
    assert scored.events == []


def test_the_agents_reason_is_never_made_better(pipeline, record_of):
    scored = pipeline.step(record_of((11, 0, np.nan, Reason.CRC_ERROR), (12, 0, 900.0, Reason.WARM_UP)), 1)
    assert scored.reason.tolist() == [Reason.CRC_ERROR, Reason.WARM_UP]


def test_a_breach_becomes_one_event_that_says_where_and_what(pipeline, record_of, time_ns):
    events = pipeline.step(record_of((11, 0, 10.0), (11, 1, 26.0), (11, 2, 27.0)), 5).events
    assert [(event.condition_id, event.state, event.value) for event in events] == [("gas-001-high", "active", 26.0)]
    assert (events[0].node_id, events[0].site_id, events[0].unit) == ("gas-001", "station", "%{LEL}")
    assert events[0].phenomenon_ns == time_ns + 1_000_000_000
    assert events[0].is_historical is False


def test_a_breach_that_the_agent_sends_as_history_is_recorded_as_history(pipeline, record_of):
    scored = pipeline.step(record_of((11, 0, 26.0, 0, True)), 5)
    assert scored.is_late.tolist() == [True]
    assert [event.is_historical for event in scored.events] == [True]


def test_a_reading_older_than_one_seen_before_is_late(pipeline, record_of):
    pipeline.step(record_of((11, 10, 1.0)), 1)
    assert pipeline.step(record_of((11, 9, 1.0), (12, 9, 1.0)), 1).is_late.tolist() == [True, False]


def test_a_clock_that_runs_an_hour_behind_is_suspect_but_still_raises_the_alarm(pipeline, record_of):
    record = record_of((11, 0, 30.0))
    record.received_ns[:] += 3_600 * 10**9
    scored = pipeline.step(record, 1)
    assert scored.reason.tolist() == [Reason.CLOCK_SUSPECT]
    assert [event.is_historical for event in scored.events] == [False]


def test_a_clock_that_fell_back_to_1970_silences_no_alarm(pipeline, record_of, time_ns):
    pipeline.step(record_of((11, 0, 1.0)), 1)
    fallen = record_of((11, 1, 30.0))
    fallen.phenomenon_ns[:] = 5_000_000_000
    scored = pipeline.step(fallen, 1)
    assert scored.reason.tolist() == [Reason.CLOCK_SUSPECT]
    (event,) = scored.events
    assert event.is_historical is False
    assert event.phenomenon_ns == fallen.received_ns[0], "ordered by when it was received, among events of right clocks"


def test_one_reading_from_the_future_does_not_make_the_true_ones_late(pipeline, record_of):
    future = record_of((11, 3_600, 1.0))
    future.received_ns[:] -= 3_600 * 10**9
    assert pipeline.step(future, 1).reason.tolist() == [Reason.CLOCK_SUSPECT]
    scored = pipeline.step(record_of((11, 5, 30.0)), 1)
    assert scored.is_late.tolist() == [False]
    assert len(scored.events) == 1


def test_an_active_condition_that_the_registry_withdraws_returns_once(pipeline, fleet, record_of):
    pipeline.step(record_of((11, 0, 30.0)), 1)
    pipeline.take_fleet(FleetIndex(fleet.model_copy(update={"conditions": []})), 77)
    scored = pipeline.step(record_of((12, 1, 1.0)), 1)
    assert [(event.condition_id, event.state, event.phenomenon_ns) for event in scored.events] == [
        ("gas-001-high", "normal", 77)
    ]
    assert [tuple(lane) for lane in scored.changed_lanes.values()] == [(False, -1)]
    assert pipeline.step(record_of((12, 2, 1.0)), 1).events == []


def test_bad_and_late_readings_are_not_learnt(fleet, record_of):
    clean, dirty = Pipeline(), Pipeline()
    for pipeline in (clean, dirty):
        pipeline.take_fleet(FleetIndex(fleet))
    for second in range(40):
        clean.step(record_of((11, second, second % 5)), 1)
        dirty.step(record_of((11, second, second % 5), (11, second, 99.0, Reason.WARM_UP), (11, 0, 99.0, 0, True)), 1)
    assert clean.scores.snapshot() == dirty.scores.snapshot()


def test_a_failing_step_leaves_watermarks_and_conditions_as_they_were(pipeline, record_of, monkeypatch):
    def fail(*_):
        raise RuntimeError("defect")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.scores, "score_and_learn", fail)
        with pytest.raises(RuntimeError):
            pipeline.step(record_of((11, 0, 30.0)), 1)
    scored = pipeline.step(record_of((11, 0, 30.0)), 1)
    assert scored.is_late.tolist() == [False]
    assert len(scored.events) == 1


@pytest.fixture
def latest(pipeline):
    table = LatestTable()
    table.grow(pipeline.channels.channel_ids)

    def take(record):
        table.take(record, pipeline.step(record, 1))
        return {row.channel_id: row for row in table.page(0).channels}

    return table, take


def test_a_channel_that_does_not_answer_shows_no_value_and_its_last_good_one_beside_it(latest, record_of, time_ns):
    _, take = latest
    take(record_of((11, 0, 12.3)))
    row = take(record_of((11, 1, np.nan, Reason.NO_ANSWER)))[11]
    assert (row.value, row.reason, row.level) == (None, "no_answer", "bad")
    assert (row.last_good_value, row.last_good_ns) == (12.3, time_ns)


def test_a_late_reading_is_not_shown_over_a_newer_one(latest, record_of):
    _, take = latest
    take(record_of((11, 5, 2.0)))
    assert take(record_of((11, 1, 1.0, 0, True)))[11].value == 2.0


def test_a_reading_from_the_future_does_not_hold_up_the_true_ones(latest, record_of):
    _, take = latest
    future = record_of((11, 3_600, 1.0))
    future.received_ns[:] -= 3_600 * 10**9
    take(future)
    assert take(record_of((11, 5, 2.0)))[11].value == 2.0


def test_a_clock_that_fell_back_to_1970_does_not_leave_the_old_value_as_the_current_one(latest, record_of):
    _, take = latest
    take(record_of((11, 0, 1.0)))
    fallen = record_of((11, 1, 30.0))
    fallen.phenomenon_ns[:] = 5_000_000_000
    assert take(fallen)[11].value == 30.0


def test_a_lost_gateway_makes_channels_stale_until_they_are_heard_again(latest, record_of, time_ns):
    table, take = latest
    take(record_of((11, 0, 1.0), (12, 0, 2.0)))
    table.take_lost(np.array([0]), Reason.GATEWAY_LOST, time_ns + 10**9)
    rows = {row.channel_id: row for row in table.page(0).channels}
    assert (rows[11].reason, rows[11].value) == ("gateway_lost", None)
    assert rows[12].reason == "ok"
    assert take(record_of((11, 2, 3.0)))[11].value == 3.0


@pytest.mark.parametrize("ahead_s", [-30, 0, 30])
def test_a_reading_does_not_outlive_its_gateway_whose_clock_runs_ahead_or_behind(latest, record_of, time_ns, ahead_s):
    table, take = latest
    reading = record_of((11, ahead_s, 1.0))
    reading.received_ns[:] = time_ns
    take(reading)
    table.take_lost(np.array([0]), Reason.GATEWAY_LOST, time_ns + 10**9)
    assert [(row.reason, row.value, row.phenomenon_ns) for row in table.page(0).channels] == [
        ("gateway_lost", None, time_ns + 10**9)
    ]


def test_what_was_heard_since_is_not_lost(latest, record_of, time_ns):
    table, take = latest
    take(record_of((11, 5, 1.0)))
    table.take_lost(np.array([0]), Reason.GATEWAY_LOST, time_ns + 4 * 10**9)
    assert [row.reason for row in table.page(0).channels] == ["ok"]


def test_a_page_holds_only_what_changed_since(latest, record_of):
    table, take = latest
    take(record_of((11, 0, 1.0), (12, 0, 2.0)))
    revision = table.revision
    take(record_of((12, 1, 2.5)))
    assert [row.channel_id for row in table.page(revision).channels] == [12]
