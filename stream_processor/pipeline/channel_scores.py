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
        """The scores of some readings; a slice is the whole record, whose column they become."""
        if kind is STANDARD:
            self.standard[at] = scores
        elif isinstance(at, slice):
            self.others[kind] = scores
        else:
            if kind not in self.others:
                self.others[kind] = np.full(len(self.standard), np.nan)
            self.others[kind][at] = scores


class ChannelScores:
    """The detectors, each with the channels that it scores and the set-points that its scores have to reach."""

    def __init__(self) -> None:
        self._standard = _Scorer(STANDARD, is_standard=True)
        self._others: dict[ConditionInput, _Scorer] = {}
        self._used: list[_Scorer] = [self._standard]
        """Those that any channel uses now."""
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
        asked = [definition for definition in definitions if definition.input not in _OF_NO_CHANNEL]
        rows_by_score = _rows_by_score(contexts, row_of_channel)
        for definition in asked:
            rows_by_score.setdefault(definition.input, []).append(row_of_channel[definition.channel_id])
        for kind in rows_by_score:
            self._scorer(kind)
        for scorer in self._scorers():
            scorer.take_channels(np.array(rows_by_score.get(scorer.kind, ()), dtype=np.intp))
        for definition in asked:
            if definition.direction is Direction.ABOVE:
                unit = contexts[definition.channel_id].quantity.unit_symbol
                self._scorer(definition.input).set_point(
                    row_of_channel[definition.channel_id], definition.set_point, unit
                )
        self._used = [self._standard, *(scorer for kind, scorer in self._others.items() if kind in rows_by_score)]

    def score_and_learn(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Scores live readings, at most one a channel, then learns them. `at`: their positions in the record."""
        for scorer in self._used:
            scorer.score_and_learn(batch, at, columns)

    def score(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Scores readings against what is known; learns nothing."""
        for scorer in self._used:
            scorer.score(batch, at, columns)

    def learn(self, batch: Batch) -> None:
        """Learns readings, at most one a channel."""
        for scorer in self._used:
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
        self._used = [self._standard]
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
    """One detector, and the channels that it scores: all of them (`is_standard`), or those that use it.

    The detector's rows are dense: a channel has one from its first use on, and keeps it when it ceases to use it.
    """

    def __init__(self, kind: ConditionInput, is_standard: bool = False) -> None:
        self.kind = kind
        self.detector: Detector = DETECTORS[kind.value.removeprefix("score_")]()
        self.own_row: Rows = np.zeros(0, dtype=np.intp)
        """By row of the partition: the detector's."""
        self._used_row: Rows = self.own_row
        """The same for channels that use it now; `_NOT_SCORED` for the others."""
        self._set_point: Floats = np.zeros(0)
        """By the detector's row: from which score on it says why; infinite where it never does."""
        self._units: dict[int, str] = {}
        """Of the detector's rows that have a set-point."""
        self._is_standard = is_standard

    def grow(self, count: int) -> None:
        before = len(self.own_row)
        if count <= before:
            return
        added = np.arange(before, count) if self._is_standard else np.full(count - before, _NOT_SCORED)
        self.own_row = np.concatenate([self.own_row, added.astype(np.intp)])
        self._used_row = np.concatenate([self._used_row, added.astype(np.intp)])
        if self._is_standard:
            self._grow_own(count)

    def restore(self, snapshot: bytes, own_row: Rows) -> None:
        """Which channels use it now is said by the next fleet."""
        self.detector.restore(snapshot)
        self.own_row = own_row
        self._used_row = own_row if self._is_standard else np.full_like(own_row, _NOT_SCORED)
        self._grow_own(int(own_row.max(initial=_NOT_SCORED)) + 1)

    def take_channels(self, rows: Rows) -> None:
        """Scores these channels from now on, and no others. None of them has a set-point yet."""
        self._set_point[:] = np.inf
        self._units = {}
        if self._is_standard:
            return
        new = np.unique(rows[self.own_row[rows] == _NOT_SCORED])
        before = len(self._set_point)
        self.own_row[new] = np.arange(before, before + len(new))
        self._grow_own(before + len(new))
        self._used_row = np.full_like(self.own_row, _NOT_SCORED)
        self._used_row[rows] = self.own_row[rows]

    def set_point(self, row: int, set_point: float, unit: str) -> None:
        """From which score on it says why. The lowest one of a channel counts."""
        own = int(self.own_row[row])
        self._set_point[own] = min(self._set_point[own], set_point)
        self._units[own] = unit

    def score_and_learn(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        part, places = self._own(batch, at)
        if len(part.rows):
            self._explain(part, places, columns)
            columns.set(self.kind, places, rounded(self.detector.score_and_learn(part)))

    def score(self, batch: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        part, places = self._own(batch, at)
        if len(part.rows):
            self._explain(part, places, columns)
            columns.set(self.kind, places, rounded(self.detector.score(part)))

    def learn(self, batch: Batch) -> None:
        part, _ = self._own(batch, slice(None))
        if len(part.rows):
            self.detector.learn(part)

    def _own(self, batch: Batch, at: slice | Rows) -> tuple[Batch, slice | Rows]:
        """The readings that it scores, in its own rows, and their positions in the record.

        Mostly all of a batch: channels of one partition are often of one domain.
        """
        if self._is_standard:
            return batch, at
        own = self._used_row.take(batch.rows)
        is_used = own != _NOT_SCORED
        if is_used.all():
            return batch._replace(rows=own), at
        which = np.flatnonzero(is_used)
        return batch.take(which)._replace(rows=own[which]), _positions(at, which)

    def _explain(self, part: Batch, at: slice | Rows, columns: ScoreColumns) -> None:
        """Why, of the readings whose score reaches their set-point."""
        if not self._units:
            return
        set_points = self._set_point.take(part.rows)
        asked = np.flatnonzero(set_points < np.inf)
        if len(asked) == 0:
            return
        with np.errstate(invalid="ignore"):
            is_beyond: Bools = rounded(self.detector.score(part.take(asked))) >= set_points[asked]
        if not is_beyond.any():
            return
        beyond = asked[is_beyond]
        few = part.take(beyond)
        said = self.detector.explain(few, [self._units[row] for row in few.rows.tolist()])
        for position, each in zip(_positions(at, beyond).tolist(), said, strict=True):
            columns.explanations[position, self.kind] = each.text[:EXPLANATION_LENGTH_MAX]

    def _grow_own(self, count: int) -> None:
        added = np.full(count - len(self._set_point), np.inf)
        self._set_point = np.concatenate([self._set_point, added])
        self.detector.grow(count)


def rounded(scores: Floats) -> Floats:
    """To a thousandth. A new column."""
    steps: Floats = np.rint(scores * SCORE_STEPS)
    return np.divide(steps, SCORE_STEPS, out=steps)


def _positions(at: slice | Rows, which: Rows) -> Rows:
    """Positions in the record of readings of a batch. A slice is the whole record."""
    return which if isinstance(at, slice) else at[which]
