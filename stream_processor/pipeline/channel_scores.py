"""Scores of a partition's channels: EWMA z for all, other detectors for those that use them. Pure.

What a channel uses follows from the registry: the scores of its domain or its own (`contracts.detector_set`), and those
that its conditions look at, from the first fleet revision on that has them. State is kept for those channels only.
Scores are rounded here, before anything looks at them, so that condition, InfluxDB and Parquet have the same number; of
a score that reaches a set-point the detector says why, before it learns the reading. Scores of groups are none of a
channel's own detectors: `group_scores`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from contracts.alarm import EXPLANATION_LENGTH_MAX, ConditionDefinition, ConditionInput
from contracts.condition import Direction
from contracts.detector_set import scores_of
from contracts.record import Bools, Floats
from contracts.score import GROUP_SCORES, STANDARD
from stream_processor.detectors import DETECTORS
from stream_processor.detectors.contract import Batch, Detector, Rows
from stream_processor.fleet_index import ChannelContext

SCORE_STEPS: Final = 1_000.0
"""Scores are rounded to a thousandth: what is beyond is noise, and would be most of what a score weighs on disk."""
_OF_NO_CHANNEL: Final = frozenset({ConditionInput.VALUE, *GROUP_SCORES})
"""Inputs that no detector of channels makes."""
_NOT_SCORED: Final = -1
_ROWS: Final = ".rows"


@dataclass(slots=True)
class ScoreColumns:
    """Scores of a record, in the making."""

    standard: Floats
    """NaN where there is none."""
    others: dict[ConditionInput, Floats] = field(default_factory=dict)
    """Of detectors that any of its channels uses; NaN for the others."""
    explanations: dict[tuple[int, ConditionInput], str] = field(default_factory=dict)
    """By position in the record: why a score reaches a set-point."""

    @classmethod
    def none(cls, count: int) -> ScoreColumns:
        """Of so many readings that have not been scored."""
        return cls(np.full(count, np.nan))

    def set(self, kind: ConditionInput, at: slice | Rows, scores: Floats) -> None:
        """The scores of some readings."""
        if kind is STANDARD:
            self.standard[at] = scores
        else:
            self.others.setdefault(kind, np.full(len(self.standard), np.nan))[at] = scores


class ChannelScores:
    """The detectors, each with the channels that it scores and the set-points that its scores have to reach."""

    def __init__(self) -> None:
        self._standard = _Scorer(STANDARD, is_standard=True)
        self._others: dict[ConditionInput, _Scorer] = {}
        self._units: dict[int, str] = {}
        """Of rows whose scores have set-points."""
        self._count = 0

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1."""
        self._count = max(self._count, channel_count)
        for scorer in self._scorers():
            scorer.grow(self._count)

    def take_definitions(
        self,
        definitions: Iterable[ConditionDefinition],
        contexts: Mapping[int, ChannelContext],
        row_of_channel: Mapping[int, int],
    ) -> None:
        """A new fleet revision: which channels need which scores. What was learnt of a channel stays."""
        self._units = {}
        for scorer in self._scorers():
            scorer.forget_channels()
        for kind, rows in _rows_by_score(contexts, row_of_channel).items():
            self._scorer(kind).include(np.array(rows, dtype=np.intp))
        for definition in definitions:
            if definition.input in _OF_NO_CHANNEL:
                continue
            row = row_of_channel[definition.channel_id]
            scorer = self._scorer(definition.input)
            scorer.include(np.array([row], dtype=np.intp))
            if definition.direction is Direction.ABOVE:
                self._units[row] = contexts[definition.channel_id].quantity.unit_symbol
                scorer.set_point(row, definition.set_point)

    def score_and_learn(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Scores live readings, at most one a channel, then learns them. `at`: their positions in the record."""
        for scorer in self._scorers():
            scorer.score_and_learn(batch, at, columns, self._units)

    def score(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Scores readings against what is known; learns nothing."""
        for scorer in self._scorers():
            scorer.score(batch, at, columns, self._units)

    def learn(self, batch: Batch) -> None:
        """Learns readings, at most one a channel."""
        for scorer in self._scorers():
            scorer.learn(batch)

    def snapshot(self) -> bytes:
        """All detectors' states. Equal states, equal bytes."""
        parts = {}
        for scorer in sorted(self._scorers(), key=lambda each: each.kind.value):
            parts[scorer.kind.value] = np.frombuffer(scorer.detector.snapshot(), dtype=np.uint8)
            parts[scorer.kind.value + _ROWS] = scorer.own_row.astype(np.int32)
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **parts)
        return buffer.getvalue()

    def restore(self, snapshot: bytes) -> None:
        """Takes states from `snapshot`. Raises ValueError, and has changed nothing, if it is none of these versions."""
        try:
            with np.load(io.BytesIO(snapshot), allow_pickle=False) as parts:
                names = [name for name in parts.files if not name.endswith(_ROWS)]
                scorers = {
                    ConditionInput(name): _Scorer(ConditionInput(name), name == STANDARD.value) for name in names
                }
                for kind, scorer in scorers.items():
                    scorer.restore(parts[kind.value].tobytes(), parts[kind.value + _ROWS].astype(np.intp))
            self._standard = scorers.pop(STANDARD)
        except (ValueError, KeyError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
            raise ValueError(f"no state of detectors: {error!r}") from error
        self._others = scorers
        self._count = len(self._standard.own_row)

    def _scorers(self) -> list[_Scorer]:
        return [self._standard, *self._others.values()]

    def _scorer(self, kind: ConditionInput) -> _Scorer:
        if kind is STANDARD:
            return self._standard
        if kind not in self._others:
            self._others[kind] = _Scorer(kind)
            self._others[kind].grow(self._count)
        return self._others[kind]


def _rows_by_score(
    contexts: Mapping[int, ChannelContext], row_of_channel: Mapping[int, int]
) -> dict[ConditionInput, list[int]]:
    """The rows of the channels that have a score by their domain or by themselves, without those of groups."""
    rows: dict[ConditionInput, list[int]] = {}
    for channel_id, context in contexts.items():
        for kind in scores_of(context.channel, context.site.domain):
            if kind not in _OF_NO_CHANNEL:
                rows.setdefault(kind, []).append(row_of_channel[channel_id])
    return rows


class _Scorer:
    """One detector, and the channels that it scores: all of them (`is_standard`), or those that use it."""

    def __init__(self, kind: ConditionInput, is_standard: bool = False) -> None:
        self.kind = kind
        self.detector: Detector = DETECTORS[kind.value.removeprefix("score_")]()
        self.own_row: Rows = np.zeros(0, dtype=np.intp)
        """By row of the partition: the detector's."""
        self._is_used: Bools = np.zeros(0, dtype=np.bool_)
        """By row."""
        self._set_point: Floats = np.zeros(0)
        """By row: the lowest one; infinite where there is none."""
        self._has_set_points = False
        self._is_standard = is_standard
        self._own_count = 0

    def grow(self, count: int) -> None:
        before = len(self.own_row)
        if count <= before:
            return
        added = np.arange(before, count) if self._is_standard else np.full(count - before, _NOT_SCORED)
        self.own_row = np.concatenate([self.own_row, added.astype(np.intp)])
        self._is_used = np.concatenate([self._is_used, np.full(count - before, self._is_standard)])
        self._set_point = np.concatenate([self._set_point, np.full(count - before, np.inf)])
        if self._is_standard:
            self._own_count = count
            self.detector.grow(count)

    def restore(self, snapshot: bytes, own_row: Rows) -> None:
        self.detector.restore(snapshot)
        self.own_row, self._set_point = own_row, np.full(len(own_row), np.inf)
        self._is_used = np.full(len(own_row), self._is_standard)
        self._own_count = int(own_row.max(initial=-1)) + 1

    def forget_channels(self) -> None:
        self._is_used[:] = self._is_standard
        self._set_point[:] = np.inf
        self._has_set_points = False

    def include(self, rows: Rows) -> None:
        """Scores these channels from now on."""
        self._is_used[rows] = True
        new = np.unique(rows[self.own_row[rows] == _NOT_SCORED])
        if len(new):
            self.own_row[new] = np.arange(self._own_count, self._own_count + len(new))
            self._own_count += len(new)
            self.detector.grow(self._own_count)

    def set_point(self, row: int, set_point: float) -> None:
        """From which score on it says why."""
        self._has_set_points = True
        self._set_point[row] = min(self._set_point[row], set_point)

    def score_and_learn(self, batch: Batch, at: slice | Rows, columns: ScoreColumns, units: Mapping[int, str]) -> None:
        self._explain(batch, at, columns, units)
        if self._is_standard:
            columns.set(self.kind, at, rounded(self.detector.score_and_learn(batch)))
        elif len(used := self._used(batch)):
            columns.set(self.kind, _positions(at, used), rounded(self.detector.score_and_learn(self._own(batch, used))))

    def score(self, batch: Batch, at: slice | Rows, columns: ScoreColumns, units: Mapping[int, str]) -> None:
        self._explain(batch, at, columns, units)
        if self._is_standard:
            columns.set(self.kind, at, rounded(self.detector.score(batch)))
        elif len(used := self._used(batch)):
            columns.set(self.kind, _positions(at, used), rounded(self.detector.score(self._own(batch, used))))

    def learn(self, batch: Batch) -> None:
        if self._is_standard:
            self.detector.learn(batch)
        elif len(used := self._used(batch)):
            self.detector.learn(self._own(batch, used))

    def _used(self, batch: Batch) -> Rows:
        """Positions in the batch of channels that it scores."""
        return np.flatnonzero(self._is_used[batch.rows])

    def _own(self, batch: Batch, which: Rows) -> Batch:
        part = batch.take(which)
        return part._replace(rows=self.own_row[part.rows])

    def _explain(self, batch: Batch, at: slice | Rows, columns: ScoreColumns, units: Mapping[int, str]) -> None:
        """Why, of the readings whose score reaches their set-point."""
        if not self._has_set_points:
            return
        asked = np.flatnonzero(self._set_point[batch.rows] < np.inf)
        if len(asked) == 0:
            return
        scores = rounded(self.detector.score(self._own(batch, asked)))
        rows = batch.rows[asked]
        with np.errstate(invalid="ignore"):
            is_beyond: Bools = scores >= self._set_point[rows]
        if not is_beyond.any():
            return
        which = asked[is_beyond]
        said = self.detector.explain(self._own(batch, which), [units[row] for row in rows[is_beyond].tolist()])
        for position, each in zip(_positions(at, which).tolist(), said, strict=True):
            columns.explanations[position, self.kind] = each.text[:EXPLANATION_LENGTH_MAX]


def rounded(scores: Floats) -> Floats:
    """To a thousandth. A new column."""
    steps: Floats = np.rint(scores * SCORE_STEPS)
    return np.divide(steps, SCORE_STEPS, out=steps)


def _positions(at: slice | Rows, which: Rows) -> Rows:
    """Positions in the record of readings of a batch. A slice is the whole record."""
    return which if isinstance(at, slice) else at[which]
