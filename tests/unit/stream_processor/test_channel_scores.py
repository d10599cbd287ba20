"""Which detectors a channel has, what its conditions are told of them, and what is remembered."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from contracts.record import select
from stream_processor.detectors import DETECTORS, GROUP_DETECTORS
from stream_processor.detectors.contract import Batch, to_sigma
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.channel_scores import ScoreColumns
from stream_processor.pipeline.pipeline import Pipeline, join_scored

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


# --- sets of detectors: of the domain, of the channel, of its conditions --------------------------------------------

NOVELTY, RESIDUAL = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_RESIDUAL
RATE, FLAT = ConditionInput.SCORE_RATE_OF_CHANGE, ConditionInput.SCORE_FLAT_LINE
GAUGE = 13
"""A channel of a bridge, once `with_a_bridge` has made it one."""
WARM = 120
"""Readings after which all detectors of the default sets have scores."""


@pytest.fixture
def fleet_of_sets(fleet):
    """The fleet with sets of their own for some channels; its channel 13 at a bridge if so asked; without conditions
    but those on the score of channel 11 that are given."""

    def build(own_sets=None, with_a_bridge=False, conditions=()):
        rows = fleet.model_dump(mode="json")
        for channel in rows["channels"]:
            channel["scores"] = (own_sets or {}).get(channel["channel_id"])
        if with_a_bridge:
            rows["sites"].append({**rows["sites"][0], "site_id": "bridge", "domain": "bridge"})
            (gauge,) = (node for node in rows["nodes"] if node["node_id"] == "gas-003")
            gauge["site_id"] = "bridge"
        limits = {"channel_id": WATCHED, "set_point": 0.7, "priority": 3, "colour": "blue", "title": "unusual"}
        rows["conditions"] = [{"condition_id": kind, "input": kind, **limits} for kind in conditions]
        return FleetIndex(FleetSnapshot.model_validate(rows))

    return build


def pipeline_of(fleet_index):
    pipeline = Pipeline()
    pipeline.take_fleet(fleet_index)
    return pipeline


def live(record_of, channels, first_s=0, count=WARM, seed=3):
    """One reading a second of each of the channels, as one record."""
    values = np.random.default_rng(seed).normal(10.0, 0.5, (count, len(channels))).round(2)
    return record_of(
        *(
            (channel, first_s + second, values[second, at])
            for second in range(count)
            for at, channel in enumerate(channels)
        )
    )


def names_of(scored):
    return set(scored.other_scores)


def test_a_gas_channel_without_any_condition_has_the_scores_of_its_domain(fleet_of_sets, record_of):
    pipeline = pipeline_of(fleet_of_sets())
    assert names_of(pipeline.step(live(record_of, [WATCHED], count=10), 1)) == set()  # all are warming up
    assert names_of(pipeline.step(live(record_of, [WATCHED], first_s=10, count=90), 1)) == {RATE}
    scored = pipeline.step(live(record_of, [WATCHED], first_s=100, count=5), 1)
    assert names_of(scored) == {NOVELTY, RATE}
    for column in scored.other_scores.values():
        assert ((column >= 0) & (column <= 1)).all()
        assert column.tolist() == column.round(3).tolist()


def test_a_channel_with_an_empty_set_has_the_standard_score_alone(fleet_of_sets, record_of):
    pipeline = pipeline_of(fleet_of_sets({WATCHED: []}))
    scored = pipeline.step(live(record_of, [WATCHED]), 1)
    assert scored.other_scores == {}
    assert np.isfinite(scored.score_ewma_z[-1])


def test_a_set_of_the_channels_own_replaces_that_of_its_domain(fleet_of_sets, record_of):
    pipeline = pipeline_of(fleet_of_sets({WATCHED: [RESIDUAL, FLAT]}))
    assert names_of(pipeline.step(live(record_of, [WATCHED]), 1)) == {RESIDUAL, FLAT}


@pytest.mark.parametrize(("own_set", "expected"), [(None, {NOVELTY, RATE, RESIDUAL}), ([], {RESIDUAL})])
def test_a_condition_adds_the_score_that_it_looks_at(fleet_of_sets, record_of, own_set, expected):
    pipeline = pipeline_of(fleet_of_sets({WATCHED: own_set}, conditions=[RESIDUAL]))
    scored = pipeline.step(live(record_of, [WATCHED, OTHER]), 1)
    assert names_of(scored) == expected | {NOVELTY, RATE}  # the other channel has its domain's
    of_other = scored.record.channel_id == OTHER
    assert np.isnan(scored.other_scores[RESIDUAL][of_other]).all()
    assert np.isfinite(scored.other_scores[RESIDUAL][~of_other][-1])


def test_two_domains_in_one_record_have_each_their_own_scores_as_if_they_were_alone(fleet_of_sets, record_of):
    together = pipeline_of(fleet_of_sets(with_a_bridge=True)).step(live(record_of, [WATCHED, GAUGE]), 1)
    assert names_of(together) == {NOVELTY, RATE, RESIDUAL}
    for channel, kinds in ((WATCHED, {NOVELTY, RATE}), (GAUGE, {NOVELTY, RESIDUAL})):
        mine = together.record.channel_id == channel
        alone = pipeline_of(fleet_of_sets(with_a_bridge=True)).step(select(together.record, mine), 1)
        assert names_of(alone) == kinds
        for kind, column in together.other_scores.items():
            expected = alone.other_scores.get(kind, np.full(len(alone.record), np.nan))
            np.testing.assert_array_equal(column[mine], expected)


def test_columns_have_one_order_whichever_channel_comes_first(fleet_of_sets, record_of):
    orders = []
    for channels in ([WATCHED, GAUGE], [GAUGE, WATCHED]):
        pipeline = pipeline_of(fleet_of_sets(with_a_bridge=True))
        for channel in channels:
            pipeline.step(live(record_of, [channel], count=30), 1)
        orders.append(list(pipeline.step(live(record_of, channels, first_s=30), 1).other_scores))
    assert orders[0] == orders[1] == [RATE, NOVELTY, RESIDUAL]


@pytest.mark.parametrize("seed", range(5))
def test_records_may_be_cut_anywhere_and_the_pipeline_restored_there(fleet_of_sets, record_of, seed):
    """Mixed domains, channels several times in a record, some late, some bad."""
    chance = np.random.default_rng(seed)
    count = 900
    second = np.sort(chance.uniform(0, 300, count)).round(3)
    late = chance.random(count) < 0.05
    rows = [
        (
            int(chance.choice([WATCHED, OTHER, GAUGE])),
            float(second[at] - 40 * late[at]),
            round(float(chance.normal(10, 1)), 1),
            int(chance.choice([Reason.OK, Reason.NO_ANSWER], p=[0.95, 0.05])),
        )
        for at in range(count)
    ]
    fleet_index = fleet_of_sets(with_a_bridge=True, conditions=[NOVELTY])
    whole_pipeline, pipeline = pipeline_of(fleet_index), pipeline_of(fleet_index)
    whole = whole_pipeline.step(record_of(*rows), 1)
    cuts = [0, *sorted(chance.choice(np.arange(1, count), 6, replace=False).tolist()), count]
    parts = []
    for first, last in itertools.pairwise(cuts):
        parts.append(pipeline.step(record_of(*rows[first:last]), 1))
        snapshot, pipeline = pipeline.snapshot(), Pipeline()
        pipeline.restore(snapshot)
        pipeline.take_fleet(fleet_index)
    joined = join_scored(parts)
    assert list(joined.other_scores) == list(whole.other_scores) == [RATE, NOVELTY, RESIDUAL]
    for kind, column in whole.other_scores.items():
        np.testing.assert_array_equal(joined.other_scores[kind], column)
    np.testing.assert_array_equal(joined.score_ewma_z, whole.score_ewma_z)
    assert [event.explanation for event in joined.events] == [event.explanation for event in whole.events]
    assert pipeline.snapshot() == whole_pipeline.snapshot()


def test_a_score_that_a_channel_loses_costs_nothing_and_comes_back_without_a_warm_up(
    fleet_of_sets, record_of, monkeypatch
):
    pipeline = pipeline_of(fleet_of_sets())
    pipeline.step(live(record_of, [WATCHED]), 1)
    pipeline.take_fleet(fleet_of_sets({each: [RATE, FLAT] for each in (WATCHED, OTHER, GAUGE, 14)}))
    with monkeypatch.context() as patch:
        patch.delattr(DETECTORS["novelty"], "score_and_learn")  # whoever asked it would fail
        scored = pipeline.step(live(record_of, [WATCHED], first_s=WARM, count=200), 1)
    assert names_of(scored) == {RATE, FLAT}
    assert np.isfinite(scored.other_scores[RATE][0])  # never away
    pipeline.take_fleet(fleet_of_sets())
    scored = pipeline.step(live(record_of, [WATCHED], first_s=WARM + 200, count=1), 1)
    assert names_of(scored) == {NOVELTY, RATE}


def test_a_condition_moves_to_another_channel_and_the_first_one_is_explained_no_more(fleet_of_sets, record_of):
    def watching(channel_id):
        rows = fleet_of_sets(conditions=[NOVELTY]).conditions
        return [each.model_copy(update={"channel_id": channel_id}) for each in rows]

    pipeline, index = pipeline_of(fleet_of_sets(conditions=[NOVELTY])), fleet_of_sets()
    pipeline.step(live(record_of, [WATCHED, OTHER]), 1)
    pipeline.scores.take_definitions(watching(OTHER), index.contexts, pipeline.channels.row_of_channel)
    columns = ScoreColumns.none(2)
    rows = pipeline.rows_of(np.array([WATCHED, OTHER], dtype=np.uint32))
    batch = Batch(rows, np.full(2, 10**18), np.full(2, 90.0), np.full(2, 0.05))
    pipeline.scores.score_and_learn(batch, slice(None), columns)
    assert (columns.others[NOVELTY] > 0.7).all()
    assert list(columns.explanations) == [(1, NOVELTY)]


def test_one_channel_loses_a_score_that_another_keeps(fleet_of_sets, record_of):
    pipeline = pipeline_of(fleet_of_sets())
    pipeline.step(live(record_of, [WATCHED, OTHER]), 1)
    pipeline.take_fleet(fleet_of_sets({WATCHED: []}))
    scored = pipeline.step(live(record_of, [WATCHED, OTHER], first_s=WARM, count=3), 1)
    of_other = scored.record.channel_id == OTHER
    for column in scored.other_scores.values():
        assert np.isnan(column).tolist() == (~of_other).tolist()


def test_a_channel_that_no_fleet_has_named_has_the_standard_score_alone(fleet_of_sets, record_of):
    pipeline, unknown = pipeline_of(fleet_of_sets()), 77
    scored = pipeline.step(live(record_of, [WATCHED, unknown]), 1)
    assert np.isnan(scored.other_scores[RATE][scored.record.channel_id == unknown]).all()
    assert np.isfinite(scored.score_ewma_z[-1])


def test_history_is_scored_by_the_whole_set_and_teaches_none_of_it(fleet_of_sets, record_of):
    pipeline = pipeline_of(fleet_of_sets())
    pipeline.step(live(record_of, [WATCHED]), 1)
    before = pipeline.scores.snapshot()
    scored = pipeline.step(record_of((WATCHED, 50, 90.0, 0, True), (WATCHED, 50.5, 10.0, 0, True)), 1)
    assert names_of(scored) == {NOVELTY, RATE}
    assert scored.other_scores[NOVELTY][0] > 0.8 > scored.other_scores[NOVELTY][1]
    assert pipeline.scores.snapshot() == before
