"""Which detectors a channel has, what its conditions are told of them, and what is remembered."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from stream_processor.detectors import DETECTORS, GROUP_DETECTORS
from stream_processor.detectors.contract import Batch, to_sigma
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.pipeline import Pipeline

WATCHED, OTHER = 11, 12


@pytest.fixture
def watched(fleet):
    """The fleet with conditions on scores of channel 11: (detector, set-point) each."""

    def build(*scores):
        rows = fleet.model_dump(mode="json")
        limits = {"channel_id": WATCHED, "priority": 3, "colour": "blue", "title": "unusual"}
        rows["conditions"] = [
            {"condition_id": f"c-{name}", "input": f"score_{name}", "set_point": set_point, **limits}
            for name, set_point in scores
        ]
        return FleetIndex(FleetSnapshot.model_validate(rows))

    return build


@pytest.fixture
def started(watched):
    def build(*scores):
        pipeline = Pipeline()
        pipeline.take_fleet(watched(*scores))
        return pipeline

    return build


def noise(count, seed=1):
    return np.random.default_rng(seed).normal(10.0, 0.5, count).tolist()


def run(pipeline, record_of, values, first_s=0):
    """Events of one channel's readings, one a second, beside another channel that is never watched."""
    events = []
    for second, value in enumerate(values, start=first_s):
        record = record_of(
            (OTHER, second, 3.0), (OTHER, second + 0.5, np.nan, Reason.NO_ANSWER), (WATCHED, second, value)
        )
        events += pipeline.step(record, 1).events
    return events


def test_a_condition_may_look_at_any_detector_there_is():
    names = {kind.value.removeprefix("score_") for kind in ConditionInput if kind is not ConditionInput.VALUE}
    assert names == {*DETECTORS, *GROUP_DETECTORS}


def test_a_stuck_sensor_becomes_a_condition_that_says_since_when_and_what_is_usual(started, record_of):
    pipeline = started(("flat_line", 0.5))
    assert run(pipeline, record_of, noise(200)) == []
    (event,) = run(pipeline, record_of, [9.5] * 20, first_s=200)
    assert (event.condition_id, event.input, event.value) == ("c-flat_line", ConditionInput.SCORE_FLAT_LINE, 9.5)
    assert event.input_value >= 0.5
    assert event.explanation.startswith("unmoved near 9.5 %LEL for ")
    assert event.explanation.endswith(" readings, usually for 5 at most")
    (back,) = run(pipeline, record_of, [10.5], first_s=220)
    assert (str(back.state), back.explanation) == ("normal", "")


def test_each_detector_tells_its_own_story_of_one_jump(started, record_of):
    pipeline = started(("ewma_z", 0.7), ("rate_of_change", 0.7), ("robust_z", 0.7), ("flat_line", 0.7))
    run(pipeline, record_of, noise(200))
    events = run(pipeline, record_of, [30.0], first_s=200)
    assert {event.condition_id for event in events} == {"c-ewma_z", "c-rate_of_change", "c-robust_z"}
    texts = {event.condition_id: event.explanation for event in events}
    assert " sigma above the recent mean " in texts["c-ewma_z"]
    assert texts["c-rate_of_change"].startswith("moved ")
    assert "robust sigma above the recent median" in texts["c-robust_z"]


def test_the_explanation_is_of_what_was_known_before_the_reading(started, record_of):
    pipeline = started(("ewma_z", 0.7))
    run(pipeline, record_of, noise(200))
    (event,) = run(pipeline, record_of, [30.0], first_s=200)
    told = float(event.explanation.split()[0])
    assert told == pytest.approx(to_sigma(event.input_value), rel=0.02)


def test_a_late_reading_is_explained_too_and_teaches_nothing(started, record_of):
    pipeline = started(("rate_of_change", 0.7))
    run(pipeline, record_of, noise(200))
    before = pipeline.scores.snapshot()
    (event,) = pipeline.step(record_of((WATCHED, 50, 90.0, 0, True)), 1).events
    assert event.is_historical
    assert event.explanation.startswith("moved ")
    assert pipeline.scores.snapshot() == before


def test_only_watched_channels_are_scored_by_other_detectors_and_have_their_state(started, record_of):
    plain, pipeline = started(), started(("hour_baseline", 0.7))
    run(plain, record_of, noise(20))
    run(pipeline, record_of, noise(20))
    more = len(pipeline.scores.snapshot()) - len(plain.scores.snapshot())
    assert more < 2 * DETECTORS["hour_baseline"].STATE_BYTES + 4_096


def test_a_restored_pipeline_goes_on_with_all_detectors_bit_for_bit(started, watched, record_of):
    scores = [("flat_line", 0.5), ("rate_of_change", 0.5), ("robust_z", 0.5)]
    first, second = started(*scores), Pipeline()
    run(first, record_of, noise(200))
    second.restore(first.snapshot())
    second.take_fleet(watched(*scores))
    rest = [*noise(50, seed=2), *[9.0] * 20, 40.0]
    assert run(first, record_of, rest, first_s=200) == run(second, record_of, rest, first_s=200)
    assert first.snapshot() == second.snapshot()


def test_a_condition_that_goes_and_comes_back_finds_what_was_learnt(started, watched, record_of):
    pipeline = started(("flat_line", 0.5))
    run(pipeline, record_of, noise(200))
    pipeline.take_fleet(watched())
    assert run(pipeline, record_of, [9.0] * 50, first_s=200) == []
    pipeline.take_fleet(watched(("flat_line", 0.5)))
    assert len(run(pipeline, record_of, [9.0] * 20, first_s=250)) == 1


def test_a_detector_state_of_another_version_is_forgotten_and_the_rest_is_kept(
    started, watched, record_of, monkeypatch
):
    old = started(("ewma_z", 0.7))
    run(old, record_of, noise(200))
    with monkeypatch.context() as patch:
        patch.setattr(DETECTORS["ewma_z"], "VERSION", 99)
        snapshot = old.snapshot()
    pipeline = Pipeline()
    pipeline.restore(snapshot)
    pipeline.take_fleet(watched(("ewma_z", 0.7)))
    assert pipeline.has_forgotten_scores
    scored = pipeline.step(record_of((WATCHED, 199, 90.0), (WATCHED, 200, 10.0)), 1)
    assert scored.is_late.tolist() == [True, False]
    assert np.isnan(scored.score_ewma_z).all()


def test_what_is_no_state_is_refused_and_changes_nothing(started, record_of):
    pipeline = started(("flat_line", 0.5))
    run(pipeline, record_of, noise(50))
    before = pipeline.scores.snapshot()
    for broken in (b"", b"no state", before[: len(before) // 2]):
        with pytest.raises(ValueError, match="no state of detectors"):
            pipeline.scores.restore(broken)
    assert pipeline.scores.snapshot() == before


def test_replayed_history_teaches_all_detectors_what_the_readings_taught(started):
    live, replayed = started(("flat_line", 0.5)), started(("flat_line", 0.5))
    values = np.array(noise(200))
    rows = live.rows_of(np.full(100, WATCHED, np.uint32))
    times_ns = np.arange(100, dtype=np.int64) * 10**9
    for at in range(100):
        one = slice(at, at + 1)
        live.scores.learn(Batch(rows[one], times_ns[one], values[one], np.full(1, 0.05)))
    replayed.learn(replayed.rows_of(np.full(100, WATCHED, np.uint32)), times_ns, values)
    assert live.scores.snapshot() == replayed.scores.snapshot()
