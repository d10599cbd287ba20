"""A trend as a question to InfluxDB in InfluxQL, and its answer as a trend. Pure.

InfluxQL is what 1.8, 2.x and 3 all answer at `/query`. A channel is asked for by node and quantity alone, so that a
node that was moved to another gateway keeps its past. Points that say only that nobody speaks for a channel any more
(`quality` from 128 on) are no observations and not counted. Every score that there is is asked for, also those that
neither the domain nor the channel has now: a condition may ask for one, and the past may have others. A field that no
point has costs nothing and gives an empty column.
Source: https://docs.influxdata.com/influxdb/v1/query_language/explore-data/ (GROUP BY time intervals, offset interval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.alarm import ConditionInput
from contracts.influx_schema import QUALITY, TAG_NODE, TAG_QUANTITY, VALUE
from contracts.quality import REASONS, Level, SparkplugQuality
from contracts.query import Trend
from contracts.score import OTHER_SCORES, SCORES, STANDARD
from stream_processor.fleet_index import ChannelContext

FIRST_BAD: Final = min(reason for reason, row in REASONS.items() if row.level is Level.BAD)
FIRST_STALE: Final = min(reason for reason, row in REASONS.items() if row.sparkplug is SparkplugQuality.STALE)
"""Codes are in this order: good and uncertain, bad, stale."""


class InfluxAnswerError(Exception):
    """The answer is none to our question; its message says what it is."""


def render_trend(context: ChannelContext, from_ns: int, to_ns: int, bucket_ns: int) -> tuple[str, str]:
    """Two questions: what is good or uncertain, and how many observations are bad. Buckets begin at `from_ns`.

    Two, because InfluxDB 3 takes no second statement in one request.
    """
    scope = (
        f'FROM "{context.site.domain}" WHERE "{TAG_NODE}" = {_quoted(context.node.node_id)} '
        f'AND "{TAG_QUANTITY}" = {_quoted(context.channel.quantity)} AND time >= {from_ns} AND time < {to_ns}'
    )
    grouping = f"GROUP BY time({bucket_ns}ns, {from_ns % bucket_ns}ns) fill(none)"
    highest = ", ".join(f'max("{kind.value}") AS "{kind.value}"' for kind in SCORES)
    good = f'SELECT min("{VALUE}"), max("{VALUE}"), mean("{VALUE}"), count("{VALUE}"), {highest} {scope} {grouping}'
    bad = (
        f'SELECT count("{QUALITY}") {scope} AND "{QUALITY}" >= {int(FIRST_BAD)} AND "{QUALITY}" < {int(FIRST_STALE)} '
        f"{grouping}"
    )
    return good, bad


def parse_trend(answers: tuple[object, object], channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
    """The trend that the answers to `render_trend` (with `epoch=ns`) hold. Raises InfluxAnswerError."""
    good, bad = map(_rows_by_time, answers)
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
        score_ewma_z_maximum=_highest(rows, STANDARD),
        scores_maximum={kind: column for kind in OTHER_SCORES if _is_any(column := _highest(rows, kind))},
        observation_count=[int(row.get("count") or 0) + count for row, count in zip(rows, bad_counts, strict=True)],
        bad_count=bad_counts,
    )


def empty_trend(channel_id: int, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
    """Of a channel that the fleet does not have."""
    nothing: dict[str, object] = {"results": [{}]}
    return parse_trend((nothing, nothing), channel_id, from_ns, to_ns, bucket_ns)


def _highest(rows: Sequence[Mapping[str, Any]], kind: ConditionInput) -> list[float | None]:
    return [row.get(kind.value) for row in rows]


def _is_any(column: Sequence[float | None]) -> bool:
    return any(score is not None for score in column)


def _rows_by_time(document: object) -> dict[int, Mapping[str, Any]]:
    try:
        result = document["results"][0]  # type: ignore[index]  # what it is, we find out here
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
