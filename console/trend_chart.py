"""Columns of a trend chart: time, minimum, maximum, mean, with an empty row wherever the line must break.

The stream processor sends one row per bucket that holds an observation. A line must not be drawn across a time
without observations, nor across one with bad ones only: the second has empty cells already, the first gets an empty
row here. A channel that reports less often than the buckets are long is no gap: a gap is longer than
`GAP_FACTOR` times the usual distance (the median).
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict

from contracts.alarm import Colour, ConditionDefinition, ConditionInput
from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from contracts.query import Trend

SPANS_S: Final[Mapping[str, int]] = MappingProxyType({"10m": 600, "1h": 3_600, "24h": 86_400})
"""What the page offers, in seconds."""

BUCKET_COUNT: Final = 300
"""Buckets of a chart: more than a phone has pixels for would be wasted."""

GAP_FACTOR: Final = 2.5


class SetPoint(BaseModel):
    """A line across the chart."""

    model_config = ConfigDict(frozen=True)
    value: float
    colour: Colour
    title: str


class Chart(BaseModel):
    """What the browser draws. All columns have the same length; times are seconds, whole buckets."""

    model_config = ConfigDict(frozen=True)
    from_s: float
    to_s: float
    time_s: list[float]
    minimum: list[float | None]
    maximum: list[float | None]
    mean: list[float | None]
    bad_spans_s: list[tuple[float, float]]
    """Times with bad observations only."""
    set_points: list[SetPoint]


def build_chart(trend: Trend, conditions: tuple[ConditionDefinition, ...]) -> Chart:
    """The chart of a trend; set-points of scores are left out, they have another scale."""
    rows = list(zip(trend.start_ns, trend.minimum, trend.maximum, trend.mean, strict=True))
    gap_ns = _longest_step(trend) * GAP_FACTOR
    drawn: list[tuple[int, float | None, float | None, float | None]] = []
    for row in rows:
        if drawn and row[0] - drawn[-1][0] > gap_ns:
            drawn.append((drawn[-1][0] + trend.bucket_ns, None, None, None))
        drawn.append(row)
    half_ns = trend.bucket_ns // 2
    return Chart(
        from_s=_seconds(trend.from_ns),
        to_s=_seconds(trend.to_ns),
        time_s=[_seconds(row[0] + half_ns) for row in drawn],
        minimum=[row[1] for row in drawn],
        maximum=[row[2] for row in drawn],
        mean=[row[3] for row in drawn],
        bad_spans_s=_find_bad_spans(trend),
        set_points=[
            SetPoint(value=row.set_point, colour=row.colour, title=row.title)
            for row in conditions
            if row.input is ConditionInput.VALUE
        ],
    )


def _longest_step(trend: Trend) -> float:
    steps = [after - before for before, after in zip(trend.start_ns, trend.start_ns[1:], strict=False)]
    return max(median(steps), trend.bucket_ns) if steps else trend.bucket_ns


def _find_bad_spans(trend: Trend) -> list[tuple[float, float]]:
    """Adjacent buckets with bad observations only, joined."""
    spans: list[tuple[int, int]] = []
    for start, mean, bad in zip(trend.start_ns, trend.mean, trend.bad_count, strict=True):
        if mean is not None or not bad:
            continue
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], start + trend.bucket_ns)
        else:
            spans.append((start, start + trend.bucket_ns))
    return [(_seconds(first), _seconds(last)) for first, last in spans]


def _seconds(time_ns: int) -> float:
    return time_ns // NANOSECONDS_PER_MILLISECOND * NANOSECONDS_PER_MILLISECOND / NANOSECONDS_PER_SECOND
