"""Columns of a trend chart: time, minimum, maximum, mean, scores, with an empty row wherever the line must break.

A score has no line where there is none, which is also where it was too low to be kept. The stream processor sends one
row per bucket that holds an observation. A line must not be drawn across a time without observations, nor across one
with bad ones only: the second has empty cells already, the first gets an empty row here. A channel that reports less
often than the buckets are long is no gap: a gap is longer than `GAP_FACTOR` times the usual distance (the median).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel, ConfigDict

from console.texts import Wording
from contracts.alarm import Colour, ConditionDefinition, ConditionInput
from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from contracts.query import Trend
from contracts.score import STANDARD

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


class ScoreLine(BaseModel):
    """The highest score of each bucket by one detector; may be empty throughout."""

    model_config = ConfigDict(frozen=True)
    kind: ConditionInput
    name: str
    maximum: list[float | None]


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
    scores: list[ScoreLine]
    """Drawn below, from 0 to 1."""
    score_set_points: list[SetPoint]


_Rows = list[tuple[int, int | None]]
"""Of the chart: when its bucket begins, and which row of the trend it is; None where a line must break."""


def build_chart(
    trend: Trend, conditions: tuple[ConditionDefinition, ...], scores: Sequence[ConditionInput], wording: Wording
) -> Chart:
    """The chart of a trend, with a line for each of `scores` and for any other that it has."""
    rows = _break_at_gaps(trend)
    half_ns = trend.bucket_ns // 2
    maxima = {STANDARD: trend.score_ewma_z_maximum, **trend.scores_maximum}
    nothing: list[float | None] = [None] * len(trend.start_ns)
    return Chart(
        from_s=_seconds(trend.from_ns),
        to_s=_seconds(trend.to_ns),
        time_s=[_seconds(start_ns + half_ns) for start_ns, _ in rows],
        minimum=_column(trend.minimum, rows),
        maximum=_column(trend.maximum, rows),
        mean=_column(trend.mean, rows),
        bad_spans_s=_find_bad_spans(trend),
        set_points=_set_points(row for row in conditions if row.input is ConditionInput.VALUE),
        scores=[
            ScoreLine(kind=kind, name=wording.detector(kind), maximum=_column(maxima.get(kind, nothing), rows))
            for kind in dict.fromkeys((*scores, *maxima))
        ],
        score_set_points=_set_points(row for row in conditions if row.input is not ConditionInput.VALUE),
    )


def _break_at_gaps(trend: Trend) -> _Rows:
    gap_ns = _longest_step(trend) * GAP_FACTOR
    rows: _Rows = []
    for at, start_ns in enumerate(trend.start_ns):
        if rows and start_ns - rows[-1][0] > gap_ns:
            rows.append((rows[-1][0] + trend.bucket_ns, None))
        rows.append((start_ns, at))
    return rows


def _column(values: Sequence[float | None], rows: _Rows) -> list[float | None]:
    return [None if at is None else values[at] for _, at in rows]


def _set_points(conditions: Iterable[ConditionDefinition]) -> list[SetPoint]:
    return [SetPoint(value=row.set_point, colour=row.colour, title=row.title) for row in conditions]


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
