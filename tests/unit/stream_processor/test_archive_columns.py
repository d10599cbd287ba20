"""Rows of Parquet: provenance, folders, order, and the same points from rows as from messages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from contracts.alarm import ConditionInput
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.score import OTHER_SCORES
from contracts.uplink import BatchIdentity
from stream_processor.archive_columns import TABLE_SCHEMA, build_parts, rows_of_messages
from stream_processor.archive_points import points_of_table
from stream_processor.fleet_index import FleetIndex
from stream_processor.line_protocol import Points, build_bodies, series_of_fleet
from tests.scored_messages import METHANE, NAN, OXYGEN, SECOND_NS, STRAIN, good, scored_message, small_fleet

DAY_NS = 86_400 * SECOND_NS
T = 1_761_955_200 * SECOND_NS  # 2025-11-01T00:00:00Z
CONTEXTS = FleetIndex(small_fleet()).contexts


def parts_of(*messages, contexts=CONTEXTS):
    return {part.folder: part.table for part in build_parts(rows_of_messages(messages), contexts)}


def lines_of_messages(*messages) -> list[bytes]:
    """What the store job's columns become, in order of arrival."""
    lines = []
    channel_ids = sorted(CONTEXTS)
    series = series_of_fleet(channel_ids, CONTEXTS)
    for message in messages:
        record = message.record
        row = np.searchsorted(channel_ids, record.channel_id)
        points = Points(row, message.event_ns, record.value, record.reason, message.score_ewma_z)
        for body in build_bodies(series, points):
            lines += body.text.split(b"\n")
    return lines


def lines_of_parts(parts) -> list[bytes]:
    lines = []
    for folder, table in parts.items():
        series, points, _ = points_of_table(table, folder.rpartition("=")[2])
        for body in build_bodies(series, points):
            lines += body.text.split(b"\n")
    return lines


def test_a_row_says_all_that_it_belongs_to():
    message = scored_message(3, (METHANE, T + 1, 20.5, Reason.CLOCK_SUSPECT, -1.25))
    ((folder, table),) = parts_of(message).items()
    assert folder == "date=2025-11-01/domain=gas"
    (row,) = table.to_pylist()
    times = {name: row.pop(name).isoformat() for name in ("event_time", "phenomenon_time", "received_time")}
    assert row == {
        "channel_id": METHANE,
        "district_id": "harbour",
        "site_id": "station",
        "gateway_id": "gw-1",
        "node_id": "gas-001",
        "quantity": "methane_lel",
        "unit": "%{LEL}",
        "event_rest_ns": 1,
        "value": 20.5,
        "quality": "uncertain",
        "reason": "clock_suspect",
        "score_ewma_z": -1.25,
        **dict.fromkeys(OTHER_SCORES),
        "is_late": False,
        "epoch": 7,
        "batch": 3,
    }
    assert times == {
        "event_time": "2025-11-01T00:00:00",
        "phenomenon_time": "2025-11-01T00:00:00",
        "received_time": "2025-11-01T00:00:00.050000",
    }


def test_rows_are_sorted_by_channel_and_time_and_keep_their_order_of_arrival():
    messages = [
        scored_message(1, good(OXYGEN, T, 1.0), good(METHANE, T + 2 * SECOND_NS, 2.0)),
        scored_message(2, good(METHANE, T, 3.0), good(METHANE, T, 4.0), late=True),
        scored_message(3, good(METHANE, T, 0.5)),
        scored_message(4, good(STRAIN, T + DAY_NS, 5.0)),
    ]
    parts = parts_of(*messages)
    assert {folder: table.column("value").to_pylist() for folder, table in parts.items()} == {
        "date=2025-11-01/domain=gas": [3.0, 4.0, 0.5, 2.0, 1.0],
        "date=2025-11-02/domain=bridge": [5.0],
    }
    assert all(table.schema == TABLE_SCHEMA for table in parts.values())


def test_times_that_cannot_be_make_one_folder_and_not_thousands():
    rows = [good(METHANE, day * DAY_NS, float(day)) for day in range(0, 20_000, 3)]
    history = scored_message(1, *rows, received_ns=T, late=True)
    parts = parts_of(history)
    assert sum(len(table) for table in parts.values()) == len(rows)
    assert len(parts) <= 1 + 92 // 3 + 1
    assert len(parts["date=1970-01-01/domain=gas"]) > 6_000
    future = scored_message(2, good(METHANE, T + 50_000 * DAY_NS, 1.0), received_ns=T)
    assert list(parts_of(future)) == ["date=2025-11-01/domain=gas"], "its event time is the time of receipt"


@pytest.mark.parametrize("time_ns", [np.iinfo(np.int64).min, -1, 0, np.iinfo(np.int64).max - 999_999])
def test_no_time_is_too_odd_to_be_kept_exactly(time_ns):
    message = scored_message(1, good(METHANE, T, 1.0))
    message.event_ns[0] = time_ns
    (table,) = parts_of(message).values()
    _, points, _ = points_of_table(table, "gas")
    assert points.time_ns.tolist() == [time_ns]


def test_a_channel_that_the_registry_does_not_know_is_kept_and_is_no_point():
    message = scored_message(1, good(99, T, 1.5), batch=BatchIdentity("gw-9", 1, 2))
    ((folder, table),) = parts_of(message).items()
    assert folder == "date=2025-11-01/domain=unknown"
    assert table.select(["channel_id", "gateway_id", "node_id", "unit", "value"]).to_pylist() == [
        {"channel_id": 99, "gateway_id": "gw-9", "node_id": None, "unit": None, "value": 1.5}
    ]
    _, points, unknown = points_of_table(table, "unknown")
    assert (len(points), unknown) == (0, 1)


def test_lost_channels_are_rows_without_value_and_batch():
    lost = ChannelsLost("gw-1", (METHANE, STRAIN), Reason.GATEWAY_LOST, T + 5)
    parts = parts_of(scored_message(1, made_ns=T + 9, channels_lost=(lost,)))
    assert set(parts) == {"date=2025-11-01/domain=gas", "date=2025-11-01/domain=bridge"}
    (row,) = parts["date=2025-11-01/domain=gas"].to_pylist()
    assert (row["value"], row["quality"], row["reason"], row["batch"]) == (None, "bad", "gateway_lost", None)
    assert lines_of_parts({"domain=gas": parts["date=2025-11-01/domain=gas"]}) == [
        b"gas,district=harbour,gateway=gw-1,node=gas-001,quantity=methane_lel quality=129i %d" % (T + 5)
    ]


def test_points_of_parquet_are_those_of_the_messages():
    messages = [
        scored_message(1, good(METHANE, T, 0.1, 1.234), good(STRAIN, T, -0.0), good(OXYGEN, T, 20.9, -0.001)),
        scored_message(2, (METHANE, T + 1, 250.0, Reason.OUT_OF_RANGE, NAN), (OXYGEN, T, NAN, Reason.NO_ANSWER, NAN)),
        scored_message(3, good(METHANE, 0, 5e-324, 3.0), received_ns=T + 123_456_789),
        scored_message(4, good(METHANE, T - DAY_NS, float("inf")), good(STRAIN, T, 1 / 3), received_ns=T, late=True),
        scored_message(5, (METHANE, T + 7, 1.0, 200, NAN)),
    ]
    expected = lines_of_messages(*messages)
    assert len(expected) == 9
    assert sorted(lines_of_parts(parts_of(*messages))) == sorted(expected)
    assert any(line.endswith(b" %d" % (T + 123_456_789)) for line in expected), "a wrong clock: the time of receipt"


def test_tags_that_need_escapes_come_back_as_they_were():
    table = next(iter(parts_of(scored_message(1, good(METHANE, T, 1.0))).values()))
    odd = table.set_column(4, "node_id", pa.array(["a b,c=d"]))
    assert lines_of_parts({"domain=gas": odd}) == [
        b"gas,district=harbour,gateway=gw-1,node=a\\ b\\,c\\=d,quantity=methane_lel value=1.0 %d" % T
    ]


NOVELTY, RATE = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_RATE_OF_CHANGE


def messages_with_other_scores():
    """A message with two other scores, one with none, one with lost channels, one with a third score."""
    lost = ChannelsLost("gw-1", (METHANE,), Reason.GATEWAY_LOST, T + 5)
    first = scored_message(1, good(OXYGEN, T, 1.0, 0.1), good(METHANE, T + 2, 2.0, 0.2), channels_lost=(lost,))
    last = scored_message(3, good(METHANE, T + 1, 3.0), (METHANE, T + 9, 250.0, Reason.OUT_OF_RANGE, NAN))
    return [
        replace(first, other_scores={NOVELTY: np.array([NAN, 0.625]), RATE: np.array([0.501, 0.0])}),
        scored_message(2, good(METHANE, T + 3, 4.0)),
        replace(last, other_scores={NOVELTY: np.array([0.75, NAN])}),
    ]


def test_every_row_has_its_own_other_scores_and_null_where_it_has_none():
    (table,) = parts_of(*messages_with_other_scores()).values()
    assert table.schema == TABLE_SCHEMA
    assert table.select(["value", "score_novelty", "score_rate_of_change"]).to_pylist() == [
        {"value": 3.0, "score_novelty": 0.75, "score_rate_of_change": None},
        {"value": 2.0, "score_novelty": 0.625, "score_rate_of_change": 0.0},
        {"value": 4.0, "score_novelty": None, "score_rate_of_change": None},
        {"value": None, "score_novelty": None, "score_rate_of_change": None},
        {"value": 250.0, "score_novelty": None, "score_rate_of_change": None},
        {"value": 1.0, "score_novelty": None, "score_rate_of_change": 0.501},
    ]
    assert all(table.column(kind).null_count == len(table) for kind in set(OTHER_SCORES) - {NOVELTY, RATE})


def test_points_of_parquet_have_the_other_scores_and_those_of_older_files_none():
    (table,) = parts_of(*messages_with_other_scores()).values()
    _, points, _ = points_of_table(table, "gas")
    np.testing.assert_array_equal(points.other_scores[NOVELTY], [0.75, 0.625, NAN, NAN, NAN, NAN])
    np.testing.assert_array_equal(points.other_scores[RATE], [NAN, 0.0, NAN, NAN, NAN, 0.501])
    assert set(points.other_scores) == {NOVELTY, RATE}, "a score that no row has is not told"
    unknown = replace(scored_message(4, good(OXYGEN, T, 1.0)), other_scores={NOVELTY: np.array([0.25])})
    (stranger,) = parts_of(unknown, contexts={}).values()
    both = pa.concat_tables([stranger, table], promote_options="permissive")
    _, known, without_channel = points_of_table(both, "gas")
    assert (len(known), without_channel) == (len(table), 1)
    np.testing.assert_array_equal(known.other_scores[NOVELTY], points.other_scores[NOVELTY])
    series, old, _ = points_of_table(table.drop_columns(list(OTHER_SCORES)), "gas")
    assert old.other_scores == {}
    assert len([line for body in build_bodies(series, old) for line in body.text.split(b"\n")]) == len(table)


def test_nothing_makes_no_file():
    assert parts_of(scored_message(1)) == {}


def test_rows_of_many_channels_and_times_stand_in_order_however_they_came():
    chance = np.random.default_rng(3)
    rows = [
        good(int(chance.choice([METHANE, OXYGEN])), T + int(chance.integers(0, 9)) * SECOND_NS, float(number))
        for number in range(200)
    ]
    (table,) = parts_of(*(scored_message(number, *rows[number : number + 20]) for number in range(0, 200, 20))).values()
    expected = sorted(rows, key=lambda row: row[:2])  # stable: what came first stands first
    assert table.column("value").to_pylist() == [row[2] for row in expected]


def test_more_channels_than_sixteen_bits_can_number_stand_in_order():
    count = 70_000
    times = {channel: T + (channel % 7) * SECOND_NS for channel in range(1, count + 1)}
    rows = [good(channel, time_ns, 1.0) for channel, time_ns in times.items()]
    (table,) = parts_of(scored_message(1, *reversed(rows)), contexts={}).values()
    assert table.column("channel_id").to_pylist() == list(times)
    assert table.column("event_time").cast(pa.int64()).to_pylist() == [each // 1_000_000 for each in times.values()]
