"""The scores that stand at the last observation of a channel."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.quality import Reason
from contracts.record import Record
from contracts.uplink import BatchIdentity
from stream_processor.latest_table import LatestTable

NOVELTY, FLAT = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_FLAT_LINE
NAN = float("nan")
CHANNELS = np.array([11, 12, 13], np.uint32)


@pytest.fixture
def table():
    made = LatestTable()
    made.grow(CHANNELS)
    return made


def take(table, *rows, **scores):
    """Rows are (row, time); `novelty=(…)` are scores of each."""
    at, times = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    record = Record(
        channel_id=CHANNELS[at],
        phenomenon_ns=times,
        received_ns=times,
        value=np.ones(count),
        reason=np.zeros(count, np.uint8),
        is_historical=np.zeros(count, np.bool_),
        batch_index=np.zeros(count, np.int32),
        batches=(BatchIdentity("gw", 1, 1),),
    )
    others = {ConditionInput(f"score_{name}"): np.array(column, np.float64) for name, column in scores.items()}
    table.take_columns(at, times, record, record.reason, np.full(count, 0.25), others)


def scores_of(table):
    return {row.channel_id: row.scores for row in table.page(0).channels}


def test_a_channel_shows_the_scores_that_it_has_as_the_pipeline_rounded_them(table):
    take(table, (0, 5), (1, 5), novelty=(0.713, NAN), flat_line=(NAN, 0.001))
    assert scores_of(table) == {11: {NOVELTY: 0.713}, 12: {FLAT: 0.001}}
    thousandths = np.arange(1001) / 1000
    for score in thousandths:
        take(table, (0, 6 + int(score * 1000)), novelty=(score,))
        assert scores_of(table)[11] == {NOVELTY: score}


def test_of_several_readings_of_a_channel_the_newest_counts_with_all_its_scores(table):
    take(table, (0, 9), (0, 7), novelty=(NAN, 0.9), flat_line=(0.4, 0.8))
    assert scores_of(table) == {11: {FLAT: 0.4}}


def test_a_score_that_the_newest_reading_does_not_have_is_not_kept_from_the_one_before(table):
    take(table, (0, 5), (1, 5), novelty=(0.7, 0.6))
    take(table, (0, 6))
    assert scores_of(table) == {11: {}, 12: {NOVELTY: 0.6}}
    take(table, (0, 5), novelty=(0.9,))
    assert scores_of(table)[11] == {}, "a late one is not shown"


def test_what_nobody_speaks_for_any_more_has_no_score(table):
    take(table, (0, 5), (1, 5), novelty=(0.7, 0.6))
    table.take_lost(np.array([0]), Reason.GATEWAY_LOST, 6)
    assert scores_of(table) == {11: {}, 12: {NOVELTY: 0.6}}


def test_channels_that_are_added_have_none_until_they_are_heard(table):
    take(table, (0, 5), novelty=(0.7,))
    table.grow(np.array([11, 12, 13, 14], np.uint32))
    table.take_columns(
        np.array([3]), np.array([6]), _one_of(14), np.zeros(1, np.uint8), np.array([NAN]), {FLAT: np.array([0.5])}
    )
    assert scores_of(table) == {11: {NOVELTY: 0.7}, 14: {FLAT: 0.5}}


def _one_of(channel_id):
    return Record(
        channel_id=np.array([channel_id], np.uint32),
        phenomenon_ns=np.array([6]),
        received_ns=np.array([6]),
        value=np.ones(1),
        reason=np.zeros(1, np.uint8),
        is_historical=np.zeros(1, np.bool_),
        batch_index=np.zeros(1, np.int32),
        batches=(BatchIdentity("gw", 1, 1),),
    )
