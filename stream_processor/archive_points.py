"""Points of InfluxDB from rows of Parquet: the way back from the archive. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from contracts.alarm import ConditionInput
from contracts.influx_schema import series_tags
from contracts.record import Floats, Int64s, UInt8s
from contracts.score import OTHER_SCORES
from contracts.score_columns import drop_empty_scores, select_scores
from stream_processor.archive_columns import REASON_NAMES
from stream_processor.line_protocol import Points, build_series, format_series
from stream_processor.text_column import split_texts

_NS_PER_MS: Final = 1_000_000
_REASON_CODES: Final = {name: code for code, name in enumerate(REASON_NAMES)}


def points_of_table(table: pa.Table, domain: str) -> tuple[pa.Array, Points, int]:
    """Rows of one domain as line protocol takes them: the series, the points, and how many rows say of no channel.

    A table of before the other scores were stored has no columns of them, and its points none.
    Raises ValueError for names that no line can carry, and for unknown reasons.
    """
    tags = [table.column(name) for name in ("district_id", "gateway_id", "node_id", "quantity")]
    columns = [split_texts(column) for column in tags]
    is_complete = np.logical_and.reduce([index >= 0 for index, _ in columns])
    kept = np.flatnonzero(is_complete)
    codes = np.stack([index[kept] for index, _ in columns])
    distinct, row = np.unique(codes, axis=1, return_inverse=True)
    beginnings = (
        format_series(domain, series_tags(*(texts[code] for code, (_, texts) in zip(one, columns, strict=True))))
        for one in distinct.T
    )
    event_ns = _int64(table, "event_time") * _NS_PER_MS + _int64(table, "event_rest_ns")
    scores: dict[ConditionInput, Floats] = {
        kind: _floats(table, kind.value) for kind in OTHER_SCORES if kind.value in table.column_names
    }
    points = Points(
        row.reshape(-1).astype(np.intp),
        event_ns[kept],
        _floats(table, "value")[kept],
        _reason_codes(table)[kept],
        _floats(table, "score_ewma_z")[kept],
        drop_empty_scores(select_scores(scores, kept)),
    )
    return build_series(beginnings), points, len(table) - len(kept)


def _int64(table: pa.Table, name: str) -> Int64s:
    column: Int64s = table.column(name).cast(pa.int64()).to_numpy()
    return column


def _floats(table: pa.Table, name: str) -> Floats:
    """NULL as NaN."""
    column: Floats = table.column(name).to_numpy(zero_copy_only=False).astype(np.float64)
    return column


def _reason_codes(table: pa.Table) -> UInt8s:
    index, texts = split_texts(table.column("reason"))
    unknown = [text for text in texts if text not in _REASON_CODES]
    if unknown:
        raise ValueError(f"reasons that this program does not know: {', '.join(unknown)}")
    codes: UInt8s = np.array([_REASON_CODES[text] for text in texts], np.uint8)[index]
    return codes
