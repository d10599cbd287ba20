"""Which files and rows of the archive a rebuild writes, in which order, and what is done already. Pure.

A point that is written twice with different fields keeps those of the later one, so files are read in the order in
which their rows were measured and received: by date, then by the time that their name begins with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from contracts.score import OTHER_SCORES
from stream_processor.archive_columns import ODD_DATE, UNKNOWN_DOMAIN

_PATH: Final = re.compile(r"(?:.*/)?date=(?P<date>\d{4}-\d\d-\d\d)/domain=(?P<domain>[^/]+)/(?P<name>[^/]+)\.parquet")
_COMPLETENESS_PATH: Final = re.compile(r"date=(?P<date>\d{4}-\d\d-\d\d)/[^/]+\.parquet")
COLUMNS: Final = (
    "district_id",
    "gateway_id",
    "node_id",
    "quantity",
    "event_time",
    "event_rest_ns",
    "value",
    "reason",
    "score_ewma_z",
    *(kind.value for kind in OTHER_SCORES),
)
"""What a point is made of. Files of before the other scores were stored lack these."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows."""

    from_date: date
    until_date: date
    """Inclusive."""
    domains: frozenset[str] = frozenset()
    """None: all."""
    districts: frozenset[str] = frozenset()
    """None: all."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A closed file of the archive."""

    path: str
    date: str
    domain: str


def plan_rebuild(paths: Iterable[str], selection: Selection) -> tuple[list[ArchiveFile], list[str]]:
    """The files that may hold rows of the selection, in order; and paths that are no files of the archive.

    Rows of channels that nobody knew are in no measurement: their files are left out.
    """
    matches = {path: _PATH.fullmatch(path) for path in paths}
    found = {path: match for path, match in matches.items() if match is not None}
    dates = (selection.from_date.isoformat(), selection.until_date.isoformat())
    files = [
        ArchiveFile(path, match["date"], match["domain"])
        for path, match in sorted(found.items(), key=lambda item: (item[1]["date"], item[1]["name"], item[0]))
        if (match["date"] == ODD_DATE or dates[0] <= match["date"] <= dates[1])
        and match["domain"] != UNKNOWN_DOMAIN
        and (not selection.domains or match["domain"] in selection.domains)
    ]
    return files, sorted(set(matches) - set(found))


def plan_completeness(paths: Iterable[str], selection: Selection) -> dict[str, list[str]]:
    """The files of completeness that the selection wants, by date. A gateway has no domain: of some domains, none."""
    if selection.domains:
        return {}
    dates = (selection.from_date.isoformat(), selection.until_date.isoformat())
    by_date: dict[str, list[str]] = {}
    for path in sorted(paths):
        match = _COMPLETENESS_PATH.fullmatch(path)
        if match is not None and dates[0] <= match["date"] <= dates[1]:
            by_date.setdefault(match["date"], []).append(path)
    return by_date


def select_rows(table: pa.Table, selection: Selection) -> pa.Table:
    """The rows of a file that are within the dates (by event time) and in the districts."""
    first = pa.scalar(selection.from_date).cast(pa.timestamp("ms"))
    end = pa.scalar(selection.until_date + timedelta(days=1)).cast(pa.timestamp("ms"))
    times = table.column("event_time")
    kept = pc.and_(pc.greater_equal(times, first), pc.less(times, end))
    if selection.districts:
        kept = pc.and_(kept, pc.is_in(table.column("district_id"), pa.array(sorted(selection.districts))))
    return table.filter(kept)


def format_purpose(selection: Selection, target: Sequence[str]) -> str:
    """What a rebuild is for, as one line: progress that was noted for something else is not its own."""
    return json.dumps(
        [
            selection.from_date.isoformat(),
            selection.until_date.isoformat(),
            sorted(selection.domains),
            sorted(selection.districts),
            *target,
        ]
    )


def parse_progress(text: str, purpose: str) -> frozenset[str]:
    """Paths that are done, from the progress file; none if it is of another rebuild. A line cut off is not done."""
    lines = text.split("\n")[:-1]
    return frozenset(lines[1:]) if lines[:1] == [purpose] else frozenset()
