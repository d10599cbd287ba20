"""A trend as a question to InfluxDB in InfluxQL, and its answer as a trend. Pure.

InfluxQL is what 1.8, 2.x and 3 all answer at `/query`. A channel is asked for by node and quantity alone, so that a
node that was moved to another gateway keeps its past. Points that say only that nobody speaks for a channel any more
(`quality` from 128 on) are no observations and not counted.
Source: https://docs.influxdata.com/influxdb/v1/query_language/explore-data/ (GROUP BY time intervals, offset interval).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from contracts.influx_schema import QUALITY, SCORE_EWMA_Z, TAG_NODE, TAG_QUANTITY, VALUE
from contracts.quality import REASONS, Level, SparkplugQuality
from contracts.query import Trend
from stream_processor.fleet_index import ChannelContext

FIRST_BAD: Final = min(reason for reason, row in REASONS.items() if row.level is Level.BAD)
FIRST_STALE: Final = min(reason for reason, row in REASONS.items() if row.sparkplug is SparkplugQuality.STALE)
"""Codes are in this order: good and uncertain, bad, stale."""


class InfluxAnswerError(Exception):
    """The answer is none to our question; its message says what it is."""


def render_trend(context: ChannelContext, from_ns: int, to_ns: int, bucket_ns: int) -> str:
    """Two statements: of what is good or uncertain, and how many observations are bad. Buckets begin at `from_ns`."""
    scope = (
        f'FROM "{context.site.domain}" WHERE "{TAG_NODE}" = {_quoted(context.node.node_id)} '
        f'AND "{TAG_QUANTITY}" = {_quoted(context.channel.quantity)} AND time >= {from_ns} AND time < {to_ns}'
    )
    grouping = f"GROUP BY time({bucket_ns}ns, {from_ns % bucket_ns}ns) fill(none)"
    good = (
        f'SELECT min("{VALUE}"), max("{VALUE}"), mean("{VALUE}"), count("{VALUE}"), '
        f'max("{SCORE_EWMA_Z}") AS highest {scope} {grouping}'
    )
    bad = (
        f'SELECT count("{QUALITY}") {scope} AND "{QUALITY}" >= {int(FIRST_BAD)} AND "{QUALITY}" < {int(FIRST_STALE)} '
        f"{grouping}"
    )
    return f"{good}; {bad}"


def parse_trend(document: object, channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
    """The trend that the answer to `render_trend` (with `epoch=ns`) holds. Raises InfluxAnswerError."""
    good, bad = _rows_by_time(document, 0), _rows_by_time(document, 1)
    starts = sorted({*good, *bad})
    rows = [good.get(start, {}) for start in starts]
    bad_counts = [int(bad.get(start, {}).get("count") or 0) for start in starts]
    return Trend(
        channel_id=channel_id,
        from_ns=from_ns,
        to_ns=to_ns,
        bucket_ns=bucket_ns,
        start_ns=starts,
        minimum=[row.get("min") for row in rows],
        maximum=[row.get("max") for row in rows],
        mean=[row.get("mean") for row in rows],
        score_ewma_z_maximum=[row.get("highest") for row in rows],
        observation_count=[int(row.get("count") or 0) + count for row, count in zip(rows, bad_counts, strict=True)],
        bad_count=bad_counts,
    )


def empty_trend(channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
    """Of a channel that the fleet does not have."""
    return parse_trend({"results": [{}, {}]}, channel_id, from_ns, to_ns, bucket_ns)


def _rows_by_time(document: object, statement: int) -> dict[int, Mapping[str, Any]]:
    try:
        result = document["results"][statement]  # type: ignore[index]  # what it is, we find out here
        fault = result.get("error")
        series = result.get("series") or [{"columns": ["time"], "values": []}]
        columns = series[0]["columns"]
        rows = [dict(zip(columns, row, strict=True)) for row in series[0]["values"]]
        by_time: dict[int, Mapping[str, Any]] = {int(row["time"]): row for row in rows}
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InfluxAnswerError(f"InfluxDB answered something else: {str(document)[:200]}") from error
    if fault is not None:
        raise InfluxAnswerError(f"InfluxDB: {fault}")
    return by_time


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
