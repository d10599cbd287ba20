"""The last observation of every channel, with the last good one beside it; what the console shows.

Columns over the pipeline's rows. Every change gets a new revision, so that a reader can ask for what changed since.
Scores beside the standard one have a column each from the first on that any channel has: float32, which holds the
thousandths that they are rounded to (4 bytes a channel and score).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import ConditionInput
from contracts.quality import Reason, level_of
from contracts.query import ChannelLatest, LatestPage
from contracts.record import Floats, Int64s, Record, UInt8s, UInt32s
from contracts.score_columns import OtherScores
from stream_processor.detectors.contract import Rows
from stream_processor.pipeline.pipeline import Scored
from stream_processor.pipeline.quality_control import is_bad

_SCORE_DECIMALS: Final = 3
"""As the pipeline rounds scores; takes away what float32 adds."""


class LatestTable:
    """Last values by channel row."""

    def __init__(self) -> None:
        self.revision = 0
        self._channel_id: UInt32s = np.zeros(0, dtype=np.uint32)
        self._changed: Int64s = np.zeros(0, dtype=np.int64)
        self._seen_ns: Int64s = np.zeros(0, dtype=np.int64)
        self._phenomenon_ns: Int64s = np.zeros(0, dtype=np.int64)
        self._received_ns: Int64s = np.zeros(0, dtype=np.int64)
        self._value: Floats = np.zeros(0)
        self._reason: UInt8s = np.zeros(0, dtype=np.uint8)
        self._score: Floats = np.zeros(0)
        self._other_scores: dict[ConditionInput, NDArray[np.float32]] = {}
        self._good_value: Floats = np.zeros(0)
        self._good_ns: Int64s = np.zeros(0, dtype=np.int64)

    def grow(self, channel_ids: UInt32s) -> None:
        """New rows: nothing was heard of them yet."""
        added = len(channel_ids) - len(self._channel_id)
        self._channel_id = channel_ids.copy()
        if added == 0:
            return
        zeros = np.zeros(added, dtype=np.int64)
        empty = np.full(added, np.nan)
        self._changed = np.concatenate([self._changed, zeros])
        self._seen_ns = np.concatenate([self._seen_ns, zeros])
        self._phenomenon_ns = np.concatenate([self._phenomenon_ns, zeros])
        self._received_ns = np.concatenate([self._received_ns, zeros])
        self._value = np.concatenate([self._value, empty])
        self._reason = np.concatenate([self._reason, np.full(added, Reason.STALE, dtype=np.uint8)])
        self._score = np.concatenate([self._score, empty])
        for kind, column in self._other_scores.items():
            self._other_scores[kind] = np.concatenate([column, empty.astype(np.float32)])
        self._good_value = np.concatenate([self._good_value, empty])
        self._good_ns = np.concatenate([self._good_ns, zeros])

    def restore_good(self, rows: Rows, values: Floats, phenomenon_ns: Int64s) -> None:
        """After a restart: the last good values of the store. What is current is not known until it is heard."""
        self._good_value[rows] = values
        self._good_ns[rows] = phenomenon_ns

    def take(self, record: Record, scored: Scored) -> None:
        """Takes a record in the order of event time; a late reading counts only where nothing newer is known."""
        self.take_columns(scored.row, scored.event_ns, record, scored.reason, scored.score_ewma_z, scored.other_scores)

    def take_columns(
        self,
        row: Rows,
        event_ns: Int64s,
        record: Record,
        reason: UInt8s,
        score_ewma_z: Floats,
        other_scores: OtherScores,
    ) -> None:
        """Like `take`: columns beside the record's, of its length."""
        picked = np.flatnonzero(event_ns > self._seen_ns[row])
        if len(picked) == 0:
            return
        # In order of time, so that of several readings of a channel the newest is written last.
        picked = picked[np.argsort(event_ns[picked], kind="stable")]
        rows = row[picked]
        self._seen_ns[rows] = event_ns[picked]
        self._phenomenon_ns[rows] = record.phenomenon_ns[picked]
        self._received_ns[rows] = record.received_ns[picked]
        self._value[rows] = record.value[picked]
        self._reason[rows] = reason[picked]
        self._score[rows] = score_ewma_z[picked]
        self._forget_scores(rows)
        for kind, column in other_scores.items():
            self._scores_of(kind)[rows] = column[picked]
        good = picked[~is_bad(reason[picked])]
        self._good_value[row[good]] = record.value[good]
        self._good_ns[row[good]] = record.phenomenon_ns[good]
        self._mark_changed(rows)

    def take_lost(self, rows: Rows, reason: Reason, time_ns: int) -> None:
        """Nobody speaks for these channels any more, unless they were heard since.

        A gateway's clock may run ahead of ours: what came before the loss by either clock does not outlive it.
        """
        rows = rows[np.minimum(self._seen_ns[rows], self._received_ns[rows]) <= time_ns]
        self._seen_ns[rows] = time_ns
        self._phenomenon_ns[rows] = time_ns
        self._received_ns[rows] = time_ns
        self._value[rows] = np.nan
        self._reason[rows] = reason
        self._score[rows] = np.nan
        self._forget_scores(rows)
        self._mark_changed(rows)

    def page(self, changed_after: int) -> LatestPage:
        """All channels that changed after a revision and were ever heard of."""
        rows = np.flatnonzero(self._changed > changed_after)
        scores = self._list_scores(rows)
        channels = [self._row(int(row), others) for row, others in zip(rows, scores, strict=True)]
        return LatestPage(revision=self.revision, channels=channels)

    def _forget_scores(self, rows: Rows) -> None:
        """What an observation has no score of, its channel has none of now."""
        for column in self._other_scores.values():
            column[rows] = np.nan

    def _scores_of(self, kind: ConditionInput) -> NDArray[np.float32]:
        if kind not in self._other_scores:
            self._other_scores[kind] = np.full(len(self._channel_id), np.nan, dtype=np.float32)
        return self._other_scores[kind]

    def _mark_changed(self, rows: Rows) -> None:
        if len(rows):
            self.revision += 1
            self._changed[rows] = self.revision

    def _list_scores(self, rows: Rows) -> list[dict[ConditionInput, float]]:
        """Those that each row has; by column, since a city has many channels and each only some of the scores."""
        of_row: list[dict[ConditionInput, float]] = [{} for _ in rows]
        for kind, column in self._other_scores.items():
            picked = column[rows]
            present = np.flatnonzero(np.isfinite(picked))
            scores = picked[present].astype(np.float64).round(_SCORE_DECIMALS)
            for at, score in zip(present.tolist(), scores.tolist(), strict=True):
                of_row[at][kind] = score
        return of_row

    def _row(self, row: int, other_scores: dict[ConditionInput, float]) -> ChannelLatest:
        reason = Reason(int(self._reason[row]))
        good_ns = int(self._good_ns[row])
        return ChannelLatest(
            channel_id=int(self._channel_id[row]),
            phenomenon_ns=int(self._phenomenon_ns[row]),
            received_ns=int(self._received_ns[row]),
            value=_finite(self._value[row]),
            level=level_of(reason),
            reason=reason.wire_name,
            score_ewma_z=_finite(self._score[row]),
            scores=other_scores,
            last_good_value=_finite(self._good_value[row]) if good_ns else None,
            last_good_ns=good_ns or None,
        )


def rows_of(channel_ids: Iterable[int], row_of_channel: dict[int, int]) -> Rows:
    """The rows of those channels that have one."""
    rows = [row_of_channel[channel_id] for channel_id in channel_ids if channel_id in row_of_channel]
    return np.array(rows, dtype=np.intp)


def _finite(number: np.float64) -> float | None:
    return float(number) if np.isfinite(number) else None
