"""How the benchmark of labelled scenarios counts alarms."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.labelled_scenario import Label, LabelledRecord
from tests.benchmarks.score_scenarios import find_alarms, judge

STEPS, ASSETS, PLACES = 1_000, 2, 3


def record():
    return LabelledRecord(
        values=np.zeros((STEPS, ASSETS, PLACES)),
        names=("a", "b", "c"),
        units=("m",) * 3,
        resolutions=np.ones(3),
        interval_s=60.0,
        frame_s=60.0,
        labels=(Label(0, (1, 2), 600, 650), Label(1, (0,), 800, 900)),
    )


def judged(*alarms, is_group=False, name="ewma_z"):
    """Alarms as (series, first step, last step)."""
    scores = np.full((STEPS, ASSETS if is_group else ASSETS * PLACES), np.nan, dtype=np.float32)
    scores[100:] = 0.2
    for series, first, last in alarms:
        scores[first : last + 1, series] = 0.9
    return judge(record(), name, scores, is_group=is_group)


@pytest.mark.parametrize(
    ("alarm", "true", "false"),
    [
        ((1, 610, 620), 1, 0),
        ((2, 649, 700), 1, 0),
        ((0, 610, 620), 0, 1),  # a channel that does not show the event
        ((1, 590, 640), 0, 1),  # began before it
        ((1, 660, 670), 0, 0),  # while things return to normal
        ((1, 720, 730), 0, 1),
        ((1, 50, 299), 0, 0),  # learning
        ((4, 610, 620), 0, 1),  # another asset
    ],
)
def test_an_alarm_is_true_false_or_left_out_by_where_it_begins(alarm, true, false):
    outcome = judged(alarm)
    assert (outcome.true, outcome.false, len(outcome.detected_s)) == (true, false, true)


def test_time_to_detect_is_that_of_the_first_true_alarm():
    outcome = judged((2, 630, 631), (1, 612, 613), (3, 800, 801))
    assert sorted(outcome.detected_s) == [0.0, 12 * 60.0]
    assert outcome.events == 2


def test_alarms_of_a_group_are_those_of_its_asset():
    outcome = judged((0, 620, 630), (1, 620, 630), is_group=True)
    assert (outcome.true, outcome.false) == (1, 1)
    assert outcome.series_months == pytest.approx(2 * 700 / (30 * 1_440))


def test_runs_with_less_than_the_pause_between_them_are_one_alarm():
    high = np.zeros(100, dtype=bool)
    high[[5, 6, 16, 40, 51]] = True
    assert find_alarms(high, 10).tolist() == [5, 40, 51]
    assert find_alarms(high, 11).tolist() == [5, 40]
    assert find_alarms(np.zeros(9, dtype=bool), 10).tolist() == []
