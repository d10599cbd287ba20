"""Line protocol: points a second and core, beside the serialisers of influxdb-client, in one run.

One thread, its own CPU time; of several rounds the best, since the machine is shared. Each builder turns the same
points into the bytes of request bodies, which a null sink forgets; the lines of all are parsed and compared before
anything is measured. *Live*: values with one digit after the point, as instruments give them, 50 points a millisecond.
*Distinct*: no two numbers are equal. In both every point has two fields: its score is far enough from 0 to be written,
and has all its digits. *Ordinary*: as live, with scores of normally distributed noise, so that 1 in 370 is written;
with *three more* scores of each point, likewise. *All alarm*: as live, and all three more scores are written.
"""

from __future__ import annotations

import dataclasses
import re
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Final

import numpy as np
from influxdb_client.client.write.point import Point
from influxdb_client.domain.write_precision import WritePrecision

from contracts.alarm import ConditionInput
from contracts.detector_set import DEFAULT_SCORES
from contracts.fleet import Domain
from contracts.influx_schema import SCORE_EWMA_Z, SCORE_WRITTEN_FROM, VALUE, series_tags
from contracts.record import Floats
from stream_processor.detectors.contract import to_score, to_sigma
from stream_processor.line_protocol import LINES_PER_BODY, Points, build_bodies, build_series, format_series

CHANNELS: Final = 3_000
POINTS: Final = 20 * LINES_PER_BODY
POINTS_FOR_PEERS: Final = LINES_PER_BODY
ROUNDS: Final = 15
ROUNDS_FOR_PEERS: Final = 5
MORE_SCORES: Final = DEFAULT_SCORES[Domain.GAS]
START_NS: Final = 1_761_955_200_000_000_000
TAGS: Final = [
    series_tags("harbour", f"gw-{number // 100:04d}", f"node-{number:06d}", "methane_lel") for number in range(CHANNELS)
]


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    series = build_series(format_series("gas", tags) for tags in TAGS)
    live, distinct = _points(is_live=True), _points(is_live=False)
    ordinary = dataclasses.replace(
        live, score_ewma_z=to_score(np.abs(np.random.default_rng(1).normal(0.0, 1.0, POINTS)))
    )
    ordinary_with_more = dataclasses.replace(ordinary, other_scores=_scores_of_noise(lowest=0.0))
    all_alarm = dataclasses.replace(live, other_scores=_scores_of_noise(to_sigma(SCORE_WRITTEN_FROM)))
    few = live.part(slice(0, POINTS_FOR_PEERS))
    for points in (few, all_alarm.part(slice(0, POINTS_FOR_PEERS))):
        _check_same(b"\n".join(body.text for body in build_bodies(series, points)), _with_point(points))
    yield "  builder                               points/s/core   CPU ns/point   ratio to Point"
    peer = _rate(lambda: _with_point(few), len(few), ROUNDS_FOR_PEERS)
    yield _row("ours, live", _rate(lambda: _with_ours(series, live), POINTS, ROUNDS), peer)
    yield _row("ours, distinct numbers", _rate(lambda: _with_ours(series, distinct), POINTS, ROUNDS), peer)
    yield _row("ours, ordinary", _rate(lambda: _with_ours(series, ordinary), POINTS, ROUNDS), peer)
    yield _row(
        "ours, ordinary, three more scores", _rate(lambda: _with_ours(series, ordinary_with_more), POINTS, ROUNDS), peer
    )
    yield _row("ours, all alarm, three more scores", _rate(lambda: _with_ours(series, all_alarm), POINTS, ROUNDS), peer)
    yield _row("influxdb-client Point, live", peer, peer)
    if find_spec("pandas") is None:
        yield "  influxdb-client DataFrame             not measured: pandas is not installed"
        return
    frame = _frame(few)
    _check_same(b"\n".join(body.text for body in build_bodies(series, few)), _with_frame(frame))
    yield _row("influxdb-client DataFrame, live", _rate(lambda: _with_frame(frame), len(few), ROUNDS_FOR_PEERS), peer)


def _points(*, is_live: bool) -> Points:
    chance = np.random.default_rng(20261122)
    values = chance.normal(20.0, 5.0, POINTS)
    steps = np.arange(POINTS)
    distances = np.abs(chance.normal(0.0, 1.0, POINTS)) + to_sigma(SCORE_WRITTEN_FROM)
    return Points(
        row=chance.integers(0, CHANNELS, POINTS),
        time_ns=START_NS + (steps // 50 if is_live else steps) * 1_000_000,
        value=np.round(values, 1) if is_live else values,
        reason=np.zeros(POINTS, np.uint8),
        score_ewma_z=to_score(distances),
    )


def _scores_of_noise(lowest: float) -> dict[ConditionInput, Floats]:
    """Rounded as the pipeline rounds them; `lowest` in sigma."""
    chance = np.random.default_rng(2)
    return {kind: np.round(to_score(np.abs(chance.normal(0.0, 1.0, POINTS)) + lowest), 3) for kind in MORE_SCORES}


def _with_ours(series: object, points: Points) -> int:
    return sum(len(body.text) for body in build_bodies(series, points))


def _with_point(points: Points) -> bytes:
    """The documented way: a Point for each."""
    lines = []
    columns = (points.row, points.time_ns, points.value, points.score_ewma_z)
    for at, (row, time_ns, value, score) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        point = Point("gas")
        for key, tag in TAGS[row]:
            point.tag(key, tag)
        point.field(VALUE, value).field(SCORE_EWMA_Z, score).time(time_ns, WritePrecision.NS)
        for kind, column in points.other_scores.items():
            point.field(kind.value, float(column[at]))
        lines.append(point.to_line_protocol())
    return "\n".join(lines).encode()


def _frame(points: Points) -> object:
    import pandas as pd

    tags = {key: [dict(TAGS[row])[key] for row in points.row] for key, _ in TAGS[0]}
    fields = {VALUE: points.value, SCORE_EWMA_Z: points.score_ewma_z}
    return pd.DataFrame({**tags, **fields}, index=pd.to_datetime(points.time_ns, utc=True))


def _with_frame(frame: object) -> bytes:
    from influxdb_client.client.write.dataframe_serializer import data_frame_to_list_of_points
    from influxdb_client.client.write_api import PointSettings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what pandas will remove
        lines = data_frame_to_list_of_points(
            frame,
            PointSettings(),
            data_frame_measurement_name="gas",
            data_frame_tag_columns=[key for key, _ in TAGS[0]],
        )
    return "\n".join(lines).encode()


def _check_same(ours: bytes, theirs: bytes) -> None:
    """All say the same: same beginnings, bit-equal numbers (the peers order fields by name)."""
    first, second = ([_parsed(line) for line in text.decode().split("\n")] for text in (ours, theirs))
    assert first == second, next((ours, theirs) for ours, theirs in zip(first, second, strict=True) if ours != theirs)


def _parsed(line: str) -> tuple[str, dict[str, float], int]:
    series, fields, time_ns = line.split(" ")
    return series, {key: float(text) for key, text in re.findall(r"(\w+)=([^,]+)", fields)}, int(time_ns)


def _rate(build: Callable[[], object], points: int, rounds: int) -> float:
    best_s = float("inf")
    for _ in range(rounds):
        start_s = time.thread_time()
        build()
        best_s = min(best_s, time.thread_time() - start_s)
    return points / best_s


def _row(name: str, rate: float, peer: float) -> str:
    return f"  {name:36}  {rate:13,.0f}   {1e9 / rate:12.0f}   {rate / peer:14.1f}"


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
