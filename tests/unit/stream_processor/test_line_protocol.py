"""Lines as InfluxDB gets them, byte by byte."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.alarm import ConditionInput
from contracts.quality import Reason
from stream_processor.fleet_index import FleetIndex
from stream_processor.line_protocol import (
    LINES_PER_BODY,
    Points,
    build_bodies,
    find_without_series,
    points_of,
    series_of_fleet,
)
from stream_processor.pipeline.pipeline import Pipeline

BEGINNING = "gas,district=harbour,gateway=gw-1,node=gas-001,quantity=methane_lel"
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def lines_of(fleet):
    series = series_of_fleet([11, 13], FleetIndex(fleet).contexts)

    def build(*rows, **other_scores):
        columns = list(zip(*rows, strict=True))
        types = (np.intp, np.int64, np.float64, np.uint8, np.float64)
        points = Points(
            *(np.array(column, dtype) for column, dtype in zip(columns, types, strict=True)),
            {ConditionInput(name): np.array(column) for name, column in other_scores.items()},
        )
        (body,) = build_bodies(series, points)
        return body.text.decode().split("\n")

    return build


@pytest.mark.parametrize(
    ("value", "reason", "score", "fields"),
    [
        (20.5, Reason.OK, 0.5, "value=20.5,score_ewma_z=0.5"),
        (20.5, Reason.OK, 0.727, "value=20.5,score_ewma_z=0.727"),
        (20.5, Reason.OK, 0.499, "value=20.5"),
        (20.5, Reason.OK, 0.0, "value=20.5"),
        (20.5, Reason.OK, float("inf"), "value=20.5"),
        (20.5, Reason.OK, NAN, "value=20.5"),
        (20.5, Reason.CLOCK_SUSPECT, 0.625, "value=20.5,score_ewma_z=0.625,quality=1i"),
        (-0.0, Reason.OK, NAN, "value=-0.0"),
        (1e300, Reason.OUT_OF_RANGE, NAN, "bad_value=1e+300,quality=96i"),
        (NAN, Reason.NO_ANSWER, NAN, "quality=64i"),
        (float("-inf"), Reason.NOT_A_NUMBER, 0.75, "quality=97i"),
        (NAN, Reason.OK, NAN, "quality=0i"),
    ],
)
def test_a_line(lines_of, value, reason, score, fields):
    assert lines_of((0, 1_761_955_200_000_000_007, value, reason, score)) == [
        f"{BEGINNING} {fields} 1761955200000000007"
    ]


@pytest.mark.parametrize(
    ("value", "reason", "score", "novelty", "residual", "fields"),
    [
        (20.5, Reason.OK, 0.6, 0.7, 0.5, "value=20.5,score_ewma_z=0.6,score_novelty=0.7,score_residual=0.5"),
        (20.5, Reason.OK, 0.1, 0.7, 0.499, "value=20.5,score_novelty=0.7"),
        (20.5, Reason.OK, NAN, NAN, 0.7, "value=20.5,score_residual=0.7"),
        (20.5, Reason.OK, 0.6, NAN, INF, "value=20.5,score_ewma_z=0.6"),
        (20.5, Reason.CLOCK_SUSPECT, NAN, 0.7, 0.8, "value=20.5,score_novelty=0.7,score_residual=0.8,quality=1i"),
        (20.5, Reason.OUT_OF_RANGE, NAN, 0.7, NAN, "bad_value=20.5,score_novelty=0.7,quality=96i"),
        (NAN, Reason.NO_ANSWER, NAN, 0.7, 0.7, "quality=64i"),
        (20.5, Reason.OK, NAN, -INF, NAN, "value=20.5"),
    ],
)
def test_the_other_scores_are_fields_of_the_same_line(lines_of, value, reason, score, novelty, residual, fields):
    plain, at_ns = (0, 1, 1.0, Reason.OK, NAN), 1_761_955_200_000_000_007
    nobody = [NAN]
    assert lines_of(
        plain,
        (0, at_ns, value, reason, score),
        plain,
        score_novelty=[*nobody, novelty, *nobody],
        score_residual=[*nobody, residual, *nobody],
    ) == [f"{BEGINNING} value=1.0 1", f"{BEGINNING} {fields} {at_ns}", f"{BEGINNING} value=1.0 1"]


def test_an_unknown_reason_code_is_bad(lines_of):
    assert lines_of((0, 1, 2.0, 255, NAN)) == [f"{BEGINNING} bad_value=2.0,quality=255i 1"]


def test_lines_keep_the_order_of_their_points(lines_of):
    lines = lines_of((1, 2, 1.0, 0, NAN), (0, 1, 1.0, 0, NAN), (1, 1, 1.0, 0, NAN))
    assert [line.rpartition("=")[0].split(",")[3] for line in lines] == ["node=gas-003", "node=gas-001", "node=gas-003"]


def test_a_channel_that_the_fleet_does_not_have_has_no_series(fleet):
    series = series_of_fleet([11, 999], FleetIndex(fleet).contexts)
    assert list(find_without_series(series, np.array([0, 1, 0, 1]))) == [1, 3]


def test_a_record_goes_through_the_pipeline_into_lines(fleet, record_of, time_ns):
    index = FleetIndex(fleet)
    pipeline = Pipeline()
    pipeline.take_fleet(index)
    record = record_of((11, 0, 21.5), (13, 1, 250.0), (12, 2, NAN, Reason.NO_ANSWER), (11, 3, 22.0))
    scored = pipeline.step(record, time_ns)
    (body,) = build_bodies(series_of_fleet(pipeline.channels.channel_ids, index.contexts), points_of(record, scored))
    other, third = (BEGINNING.replace("gas-001", node) for node in ("gas-002", "gas-003"))
    assert body.text.decode().split("\n") == [
        f"{BEGINNING} value=21.5 {time_ns}",
        f"{third.replace('gw-1', 'gw-2')} bad_value=250.0,quality=96i {time_ns + 1_000_000_000}",
        f"{other} quality=64i {time_ns + 2_000_000_000}",
        f"{BEGINNING} value=22.0 {time_ns + 3_000_000_000}",
    ]


def test_no_points_are_no_bodies(fleet):
    series = series_of_fleet([11], FleetIndex(fleet).contexts)
    empty = np.zeros(0)
    points = Points(empty.astype(np.intp), empty.astype(np.int64), empty, empty.astype(np.uint8), empty)
    assert list(build_bodies(series, points)) == []


def test_many_points_are_many_bodies(fleet):
    series = series_of_fleet([11], FleetIndex(fleet).contexts)
    count = 2 * LINES_PER_BODY + 1
    points = Points(
        np.zeros(count, np.intp), np.arange(count), np.ones(count), np.zeros(count, np.uint8), np.full(count, NAN)
    )
    bodies = list(build_bodies(series, points))
    assert [len(body.point_index) for body in bodies] == [LINES_PER_BODY, LINES_PER_BODY, 1]
    assert bodies[2].text == f"{BEGINNING} value=1.0 {count - 1}".encode()
