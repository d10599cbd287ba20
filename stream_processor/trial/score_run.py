"""The shipped detectors over a table, batch by batch, as live data would go. Pure.

    rows → record → Pipeline.step (lateness, quality control) → turns of (score history; score and learn live)

A reading that is older than one of its column, or as old, is late: it is scored and not learnt. A bad one (beyond what
its quantity can show, infinite) has no score. A group detector sees frames, the means of all columns in a period; the
score of a frame stands on the row that closed it, because nobody could have known it before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats, Int64s, UInt8s
from stream_processor.detectors.contract import Batch, Detector, Round, Rows, split_rounds
from stream_processor.pipeline.channel_scores import ChannelScores, ScoreColumns
from stream_processor.pipeline.channel_table import RESOLUTION
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.pipeline.quality_control import is_bad
from stream_processor.trial.detector_trial import DetectorTrial, Turn
from stream_processor.trial.group_run import GroupRun
from stream_processor.trial.table import TableBatch
from stream_processor.trial.trial_channel import TrialChannel, index_of, record_of

DEFAULT_THRESHOLD: Final = 0.5
"""3 sigma."""
TURNS: Final = 2_048
"""So many are taken by one detector after another: a turn of one column is some hundred bytes in memory."""
_ScalarT = TypeVar("_ScalarT", bound=np.generic)


class ScoredRows(NamedTuple):
    """What is said of some rows of the table; by row and column, unless it says otherwise."""

    times_ns: Int64s
    """By row."""
    values: Floats
    reasons: UInt8s
    """Codes of contracts.quality; 0 also where there is no value."""
    is_late: Bools
    scores: Mapping[str, Floats]
    """By detector; NaN: none."""
    group_scores: Mapping[str, Floats]
    """By detector of groups, then by row; NaN where a row closes no frame."""


@dataclass(slots=True)
class ColumnTally:
    """Counts of one column."""

    readings: int = 0
    missing: int = 0
    late: int = 0
    bad: int = 0


class ScoreRun:
    """State of one trial."""

    def __init__(
        self,
        channels: Sequence[TrialChannel],
        detectors: Mapping[str, Detector],
        groups: GroupRun | None = None,
        threshold: float = DEFAULT_THRESHOLD,
    ) -> None:
        units = [channel.quantity.unit_symbol for channel in channels]
        self.channels = channels
        self.threshold = threshold
        self.columns = [ColumnTally() for _ in channels]
        self.trials = {name: DetectorTrial(detector, units, threshold) for name, detector in detectors.items()}
        self.groups = groups
        self.rows = 0
        self.span_ns: tuple[int, int] | None = None
        """Lowest and highest time so far."""
        self._pipeline = Pipeline()
        self._pipeline.scores = _NoScores()
        self._pipeline.take_fleet(index_of(channels))
        self._resolutions = self._pipeline.channels.limits[:, RESOLUTION].copy()
        self._batches = 0
        self._seen = np.zeros(len(channels), dtype=np.int64)
        """Usable readings of each column so far."""

    def step(self, batch: TableBatch) -> ScoredRows:
        """Takes rows in the order of the file."""
        self._batches += 1
        record, is_there = record_of(batch.times_ns, batch.values, self._batches)
        said = self._pipeline.step(record, 0)
        usable = ~is_bad(said.reason)
        is_late = said.is_late[usable]
        column = said.row[usable]
        readings = Batch(column, said.event_ns[usable], said.record.value[usable], self._resolutions[column])
        found = self._score(readings, is_late)
        self._count(batch, said.row, ~usable, said.is_late)
        is_usable = np.zeros_like(is_there)
        is_usable[is_there] = usable
        line = np.nonzero(is_usable)[0]
        return ScoredRows(
            batch.times_ns,
            batch.values,
            _spread(is_there, said.reason, 0),
            _spread(is_there, said.is_late, 0),
            {name: _spread(is_usable, scores, np.nan) for name, scores in found.items()},
            self._score_groups(readings.take(np.flatnonzero(~is_late)), line[~is_late], len(batch.values)),
        )

    def _score(self, readings: Batch, is_late: Bools) -> dict[str, Floats]:
        """The scores of readings by detector; live ones are learnt."""
        numbers = self._number(readings.rows)
        found = {name: np.full(len(numbers), np.nan) for name in self.trials}
        rounds = split_rounds(readings.rows, is_late)
        while turns := [_turn(readings, each) for each in islice(rounds, TURNS)]:
            for name, trial in self.trials.items():
                trial.take(turns, numbers, found[name])
        for name, trial in self.trials.items():
            trial.count(readings.rows[~is_late], found[name][~is_late])
        return found

    def _score_groups(self, live: Batch, line: Rows, lines: int) -> dict[str, Floats]:
        return {} if self.groups is None else self.groups.step(live, line, lines)

    def _number(self, column: Rows) -> Int64s:
        """Which usable reading of its column each is, from 0."""
        order = np.argsort(column, kind="stable")
        counts = np.bincount(column, minlength=len(self.channels))
        numbers = np.empty(len(column), dtype=np.int64)
        numbers[order] = np.arange(len(column)) - np.repeat(np.cumsum(counts) - counts - self._seen, counts)
        self._seen += counts
        return numbers

    def _count(self, batch: TableBatch, column: Rows, bad: Bools, is_late: Bools) -> None:
        lowest, highest = int(batch.times_ns.min()), int(batch.times_ns.max())
        before = self.span_ns or (lowest, highest)
        self.span_ns = min(lowest, before[0]), max(highest, before[1])
        self.rows += len(batch.values)
        width = len(self.channels)
        readings, late, bads = (
            np.bincount(column[which], minlength=width) for which in (np.ones_like(bad), is_late & ~bad, bad)
        )
        for at, tally in enumerate(self.columns):
            tally.readings += int(readings[at])
            tally.missing += len(batch.values) - int(readings[at])
            tally.late += int(late[at])
            tally.bad += int(bads[at])


class _NoScores(ChannelScores):
    """Of the pipeline a trial wants lateness and quality: its own detectors follow, and give all digits."""

    def score(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Leaves the columns empty."""

    def score_and_learn(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Leaves the columns empty."""


def _turn(readings: Batch, positions: Round) -> Turn:
    live, history = positions
    return Turn(live, readings.take(live), history, readings.take(history))


def _spread(where: Bools, column: NDArray[_ScalarT], empty: float) -> NDArray[_ScalarT]:
    """A matrix with the entries of `column` where `where` is true, row by row."""
    matrix = np.full(where.shape, empty, dtype=column.dtype)
    matrix[where] = column
    return matrix
