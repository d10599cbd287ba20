"""The downsampled buckets from the archive: which files make which windows, the query, and its answer as lines. Pure.

The windows are those that the tasks of `broker_config.influxdb` compute from the points of InfluxDB: by series,
labelled with their beginning: of `value` alone (good or uncertain), and the highest of each score of those that
InfluxDB has (`SCORE_WRITTEN_FROM`). Of several rows of one series and time the last one counts, as of several points;
of scores the last that is written. A mean may differ from the task's in its last digits, because it is summed in
another order; and readings that came later than a task looks back are counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

from contracts.influx_schema import (
    AGGREGATES,
    SCORE_WRITTEN_FROM,
    aggregate_field,
    score_maximum_field,
    series_tags,
)
from contracts.quality import Level
from contracts.score import SCORES
from stream_processor.archive_columns import ODD_DATE
from stream_processor.distributed.rebuild_plan import ArchiveFile
from stream_processor.line_protocol import Body, format_series

_SERIES: Final = "district_id, gateway_id, node_id, quantity"
_WINDOW: Final = "epoch_us(event_time) // $window_us::BIGINT * $window_us::BIGINT * 1000 AS window_ns"


def _of_scores(form: str, joint: str = ", ") -> str:
    return joint.join(form.format(score=score) for score in SCORES)


WINDOW_QUERY: Final = f"""
WITH file_row AS NOT MATERIALIZED (
    SELECT *, list_position($paths, filename)::BIGINT << 40 | file_row_number AS number
    FROM (SELECT {_of_scores("NULL::DOUBLE AS {score}")} WHERE false
          UNION ALL BY NAME
          FROM read_parquet($paths, filename = true, file_row_number = true, union_by_name = true))
    WHERE value IS NOT NULL AND quality <> '{Level.BAD}'
      AND event_time >= make_timestamp($from_us) AND event_time < make_timestamp($until_us)
      AND district_id || gateway_id || node_id || quantity IS NOT NULL
      AND ($is_every_district OR list_contains($districts, district_id))),
point AS (
    SELECT {_SERIES}, event_time, arg_max(value, number) AS value
    FROM file_row GROUP BY {_SERIES}, event_time, event_rest_ns),
scored_point AS (
    SELECT {_SERIES}, event_time,
           {_of_scores(f"arg_max({{score}}, number) FILTER ({{score}} >= {SCORE_WRITTEN_FROM}) AS {{score}}")}
    FROM file_row WHERE {_of_scores(f"{{score}} >= {SCORE_WRITTEN_FROM}", " OR ")}
    GROUP BY {_SERIES}, event_time, event_rest_ns),
value_window AS (
    SELECT {_SERIES}, {_WINDOW}, avg(value) AS mean, min(value) AS min, max(value) AS max, count(*) AS count
    FROM point GROUP BY ALL),
score_window AS (SELECT {_SERIES}, {_WINDOW}, {_of_scores("max({score}) AS {score}")} FROM scored_point GROUP BY ALL)
SELECT {_SERIES}, window_ns, mean, min, max, count, {_of_scores("{score}")}
FROM value_window LEFT JOIN score_window USING ({_SERIES}, window_ns)
"""  # noqa: S608  # of our own words
"""Of an hour at most, so that its points fit into memory. `paths` are the files of one folder in order; those of before
the other scores were stored may be among them."""

_US_PER_HOUR: Final = 3_600_000_000
_US_PER_S: Final = 1_000_000

_FIELDS: Final = (*(aggregate_field(name) for name in AGGREGATES), *(score_maximum_field(each) for each in SCORES))

WindowRow = tuple[Any, ...]
"""A row of the query's answer: the four tags of its series, the beginning (ns), the aggregates, the highest of each
score (None: none was written)."""


@dataclass(frozen=True, slots=True)
class ArchiveFolder:
    """The files of one date and domain."""

    date: str
    domain: str
    paths: tuple[str, ...]


def plan_folders(files: Iterable[ArchiveFile]) -> list[ArchiveFolder]:
    """The folders of files. That of times that cannot be has no windows."""
    folders: dict[tuple[str, str], list[str]] = {}
    for file in files:
        if file.date != ODD_DATE:
            folders.setdefault((file.date, file.domain), []).append(file.path)
    return [ArchiveFolder(*key, tuple(paths)) for key, paths in sorted(folders.items())]


def plan_hours(day: str, now_s: int, window_s: int) -> list[tuple[int, int]]:
    """The hours of a day (from, until; microseconds since 1970), without windows that have not ended."""
    begin_us = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * _US_PER_S
    ended_us = now_s // window_s * window_s * _US_PER_S
    hours = [begin_us + number * _US_PER_HOUR for number in range(24)]
    return [(hour, min(hour + _US_PER_HOUR, ended_us)) for hour in hours if hour < ended_us]


def build_windows(domain: str, rows: Sequence[WindowRow]) -> Body:
    """Rows of the query as one body. There must be one at least."""
    lines = [
        format_series(domain, series_tags(district, gateway, node, quantity)) + f"{_fields(numbers)} {window_ns}"
        for district, gateway, node, quantity, window_ns, *numbers in rows
    ]
    return Body("\n".join(lines).encode(), np.arange(len(lines), dtype=np.intp))


def _fields(numbers: Sequence[float | None]) -> str:
    """A count is an integer, the others are floats."""
    return ",".join(
        f"{name}={number}i" if isinstance(number, int) else f"{name}={number!r}"
        for name, number in zip(_FIELDS, numbers, strict=True)
        if number is not None
    )
