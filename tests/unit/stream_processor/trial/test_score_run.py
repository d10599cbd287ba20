"""The detectors over a table go as live data would: nothing is known before its time, late readings are not learnt."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest

from contracts.quality import Reason
from stream_processor.detectors import DETECTORS, GROUP_DETECTORS
from stream_processor.detectors.contract import Batch
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.trial import detector_trial, score_run
from stream_processor.trial.detector_trial import TURNS_PER_COPY
from stream_processor.trial.group_run import GroupRun
from stream_processor.trial.score_run import ScoreRun
from stream_processor.trial.score_text import ScorePlot, format_summary
from stream_processor.trial.table import TableBatch
from stream_processor.trial.trial_channel import choose_channels, count_decimals, index_of, record_of

MINUTE_NS = 60_000_000_000
START_NS = 1_761_955_200_000_000_000
NAMES = ("north", "south")


def table_of(values, times_ns=None):
    values = np.array(values, dtype=np.float64)
    if times_ns is None:
        times_ns = START_NS + np.arange(len(values)) * MINUTE_NS
    return TableBatch(np.array(times_ns), values, "made")


def run_of(table, *, groups=False, quantities=None, detectors=DETECTORS):
    names = NAMES[: table.values.shape[1]]
    channels = choose_channels(names, table.values, quantities or {}, {})
    built = {name: new(len(names)) for name, new in GROUP_DETECTORS.items()} if groups else {}
    group = GroupRun(built, names, ["", ""], MINUTE_NS, 0.5) if groups else None
    return ScoreRun(channels, {name: new() for name, new in detectors.items()}, group)


def part_of(table, rows):
    return TableBatch(table.times_ns[rows], table.values[rows], table.time_form)


@pytest.fixture(scope="module")
def table():
    """Two columns that move together; a jump of one at row 300, gaps, a row that is late, a time that comes twice."""
    chance = np.random.default_rng(3)
    together = np.cumsum(chance.normal(0.0, 0.3, 400))
    values = np.round(np.column_stack([together, 0.5 * together]) + chance.normal(0.0, 1.0, (400, 2)), 1)
    values[300:310, 1] += 40.0
    values[50:60, 0] = np.nan
    values[70] = np.nan
    times = START_NS + np.arange(400) * MINUTE_NS
    times[100] -= 5 * MINUTE_NS
    times[200] = times[199]
    return table_of(values, times)


@pytest.fixture(scope="module")
def scored(table):
    run = run_of(table, groups=True)
    return run, run.step(table)


def columns_of(rows):
    return {**rows.scores, **rows.group_scores}


def test_every_detector_gives_scores_between_0_and_1_and_none_in_warm_up(scored):
    _, rows = scored
    assert set(rows.scores) == set(DETECTORS)
    for name, scores in rows.scores.items():
        known = scores[np.isfinite(scores)]
        assert ((known >= 0.0) & (known <= 1.0)).all(), name
        assert np.isnan(scores[: DETECTORS[name].WARM_UP_READINGS]).all(), name


def test_rows_that_were_not_read_yet_change_no_score(table, scored):
    _, rows = scored
    shorter = run_of(table, groups=True).step(part_of(table, slice(0, 305)))
    for name, scores in columns_of(shorter).items():
        np.testing.assert_array_equal(scores, columns_of(rows)[name][:305], err_msg=name)


def test_batches_of_any_size_say_the_same_as_one_of_all(table, scored):
    _, rows = scored
    run = run_of(table, groups=True)
    edges = [0, 1, 2, 57, 100, 101, 250, 400]
    parts = [run.step(part_of(table, slice(*each))) for each in pairwise(edges)]
    for name, scores in columns_of(rows).items():
        np.testing.assert_array_equal(np.concatenate([columns_of(each)[name] for each in parts]), scores, err_msg=name)


def test_the_pipeline_itself_gives_the_column_of_its_detector(table, scored):
    run, rows = scored
    pipeline = Pipeline()
    pipeline.take_fleet(index_of(run.channels))
    record, is_there = record_of(table.times_ns, table.values, 1)
    said = pipeline.step(record, 1).score_ewma_z
    np.testing.assert_array_equal(said, np.rint(rows.scores["ewma_z"][is_there] * 1_000.0) / 1_000.0)


def test_a_late_reading_is_scored_and_not_learnt(table, scored):
    run, rows = scored
    assert np.flatnonzero(rows.is_late.any(axis=1)).tolist() == [100, 200]
    assert np.isfinite(rows.scores["ewma_z"][[100, 200]]).all()
    without = np.delete(np.arange(400), [100, 200])
    other = run_of(table).step(part_of(table, without))
    for name, scores in other.scores.items():
        np.testing.assert_array_equal(scores, rows.scores[name][without], err_msg=name)
    assert [each.late for each in run.columns] == [2, 2]


def test_missing_and_bad_readings_have_no_score_and_are_counted():
    values = np.full((50, 1), 7.0)
    values[40:44, 0] = [np.nan, np.inf, 1e16, -np.inf]
    run = run_of(table_of(values))
    rows = run.step(table_of(values))
    assert np.isnan(rows.scores["ewma_z"][40:44]).all()
    assert (rows.reasons[40:44, 0] != Reason.OK).tolist() == [False, True, True, True]
    assert (run.columns[0].readings, run.columns[0].missing, run.columns[0].bad) == (49, 1, 3)


def test_a_quantity_brings_its_plausible_range_and_its_unit():
    run = run_of(table_of([[20.0], [900.0]]), quantities={"north": "methane_lel"})
    assert run.step(table_of([[20.0], [900.0]])).reasons[:, 0].tolist() == [Reason.OK, Reason.OUT_OF_RANGE]
    assert "methane_lel in %LEL" in "\n".join(format_summary("f", "t", run))


def test_a_batch_without_any_value_is_no_fault():
    empty = table_of(np.full((3, 2), np.nan))
    rows = run_of(empty, groups=True).step(empty)
    assert all(np.isnan(scores).all() for scores in columns_of(rows).values())


def test_the_report_tells_the_jump_with_its_reason_and_the_plot_is_a_picture(table, scored):
    run, rows = scored
    text = "\n".join(format_summary("bridge.csv", "time, ISO 8601", run))
    assert "2 late" in text
    highest = run.trials["ewma_z"].tallies()[1].incidents.highest()[0]
    assert highest.time_ns == table.times_ns[300]
    assert f"{highest.score:.3f}" in text
    assert highest.why in text
    plot = ScorePlot(2)
    plot.add(rows)
    root = ET.fromstring(plot.draw("a <b> & c", run))
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b> & c", "north", "south", *DETECTORS, *GROUP_DETECTORS} <= set(words)
    assert any(highest.why in each.text for each in root.iter("{http://www.w3.org/2000/svg}title"))


def incidents_of(run):
    return {
        (name, column): [(each.time_ns, each.score, each.why) for each in tally.incidents.highest()]
        for name, trial in run.trials.items()
        for column, tally in enumerate(trial.tallies())
    }


def test_a_reason_is_what_the_detector_said_before_it_learnt_the_reading(table, scored):
    """Though it is asked for afterwards, when it is known which readings are the highest."""
    run, rows = scored
    known = incidents_of(run)
    assert sum(len(each) for each in known.values()) > 20
    assert max(table.times_ns.searchsorted(each[0]) for found in known.values() for each in found) > TURNS_PER_COPY
    for (name, column), found in known.items():
        detector, reasons = DETECTORS[name](), {}
        detector.grow(2)
        for at in np.flatnonzero(~np.isnan(table.values[:, column]) & ~rows.is_late[:, column]):
            time_ns, value = table.times_ns[at : at + 1], table.values[at : at + 1, column]
            reading = Batch(np.array([column]), time_ns, value, np.full(1, 0.05))
            if time_ns[0] in [each[0] for each in found]:
                reasons[int(time_ns[0])] = detector.explain(reading, [""])[0].text
            detector.learn(reading)
        assert {each[0]: each[2] for each in found} == reasons, (name, column)


def test_how_often_a_copy_is_kept_changes_neither_scores_nor_reasons(table, scored, monkeypatch):
    run, rows = scored
    monkeypatch.setattr(score_run, "TURNS", 37)
    monkeypatch.setattr(detector_trial, "TURNS_PER_COPY", 5)
    other = run_of(table, groups=True)
    for name, scores in columns_of(other.step(table)).items():
        np.testing.assert_array_equal(scores, columns_of(rows)[name], err_msg=name)
    assert incidents_of(other) == incidents_of(run)


def test_a_group_score_stands_on_the_row_that_ended_the_frame(table, scored):
    _, rows = scored
    scores = rows.group_scores["group_distance"]
    assert np.nanargmax(scores) in range(301, 312), "the jump of row 300 is known when row 301 has come"
    assert scores[300] < 0.5


def test_a_table_from_new_to_old_is_told():
    table = table_of(np.ones((50, 1)))
    run = run_of(table, detectors={})
    run.step(TableBatch(table.times_ns[::-1], table.values, "made"))
    assert "98% of the readings are late" in "\n".join(format_summary("f", "t", run))


@pytest.mark.parametrize(
    ("values", "decimals"),
    [([1.0, 20.0], 0), ([0.1, 0.25], 2), ([1e6 + 0.001], 3), ([np.pi], 12), ([], 0), ([-0.5], 1)],
)
def test_digits_after_the_point_are_counted_from_the_values(values, decimals):
    assert count_decimals(np.array(values)) == decimals
