"""What scored messages are in InfluxDB."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.alarm import ConditionInput
from contracts.errors import RecordError
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.record_message import HourOfGateway, encode_scored
from stream_processor.distributed.quarantine_message import PAYLOAD_BYTES_MAX, quarantine_row
from stream_processor.distributed.scored_source import ScoredSource
from stream_processor.distributed.store_plan import (
    build_completeness,
    gather_columns,
    newest_hours,
    quarantine_unknown,
    split_lanes,
)
from stream_processor.fleet_index import FleetIndex
from stream_processor.line_protocol import build_bodies
from stream_processor.series_table import SeriesTable
from tests.scored_feed import fleet_of, scored_of

TABLE = SeriesTable(FleetIndex(fleet_of(2, 3)).contexts)
HOUR_NS = 3_600 * 1_000_000_000


def lines_of(messages, lanes: int) -> list[list[str]]:
    """Lines by lane."""
    columns = gather_columns(messages)
    return [
        [line for body in build_bodies(TABLE.series, lane.points, 2) for line in body.text.decode().split("\n")]
        for lane in split_lanes(columns, TABLE, lanes)
    ]


def test_a_reading_and_a_lost_channel_are_points():
    message = scored_of(
        5, [1, 4], [10, 11], [1.5, 2.5], [0, Reason.OUT_OF_RANGE], [0.6, np.nan],
        channels_lost=(ChannelsLost("gw-0", (1, 4), Reason.BUS_LOST, 99),),
    )  # fmt: skip
    assert lines_of([message], 1) == [
        [
            "gas,district=harbour,gateway=gw-0,node=node-0,quantity=methane_lel value=1.5,score_ewma_z=0.6 10",
            "gas,district=harbour,gateway=gw-0,node=node-1,quantity=methane_lel bad_value=2.5,quality=96i 11",
            "gas,district=harbour,gateway=gw-0,node=node-0,quantity=methane_lel quality=128i 99",
            "gas,district=harbour,gateway=gw-0,node=node-1,quantity=methane_lel quality=128i 99",
        ]
    ]


def test_the_other_scores_of_messages_go_with_their_rows_and_lost_channels_have_none():
    novelty, residual = ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_RESIDUAL
    messages = [
        scored_of(5, [1, 99], [10, 11], [1.0, 2.0], score=[0.6, np.nan], other_scores={residual: np.array([0.7, 0.8])}),
        scored_of(6, [2], [12], [3.0], channels_lost=(ChannelsLost("gw-0", (1,), Reason.BUS_LOST, 99),)),
        scored_of(
            7, [1, 2], [13, 14], [4.0, 5.0],
            other_scores={novelty: np.array([np.nan, 0.9]), residual: np.array([0.75, 0.3])},
        ),
    ]  # fmt: skip
    (whole,) = lines_of(messages, 1)
    node = "gas,district=harbour,gateway=gw-0,node=node-0,quantity="
    assert [line.removeprefix(node) for line in whole] == [
        "methane_lel value=1.0,score_ewma_z=0.6,score_residual=0.7 10",
        "temperature value=3.0 12",
        "methane_lel value=4.0,score_residual=0.75 13",
        "temperature value=5.0,score_novelty=0.9 14",
        "methane_lel quality=128i 99",
    ]
    assert sorted(line for lane in lines_of(messages, 3) for line in lane) == sorted(whole)


@given(st.lists(st.tuples(st.integers(1, 18), st.integers(0, 3)), max_size=60), st.integers(1, 5))
@settings(max_examples=60)
def test_lanes_hold_every_point_once_and_keep_the_order_of_each_series(rows, lanes):
    messages = [
        scored_of(number, [channel], [time_ns], [float(number)]) for number, (channel, time_ns) in enumerate(rows)
    ]
    if not messages:
        return
    by_lane = lines_of(messages, lanes)
    lines = [line for lane in by_lane for line in lane]
    assert sorted(lines) == sorted(line for lane in lines_of(messages, 1) for line in lane)
    assert len(lines) == len(rows)
    for lane in by_lane:
        newest: dict[str, float] = {}
        for line in lane:
            series, fields, _ = line.split(" ")
            number = float(fields.removeprefix("value="))
            assert newest.get(series, -1.0) < number
            newest[series] = number
    homes = [{line.split(" ")[0] for line in lane} for lane in by_lane]
    assert all(not first & second for first, second in pairwise(homes))


def test_a_channel_that_the_fleet_does_not_have_is_named_with_its_readings():
    message = scored_of(5, [1, 99, 99], [10, 11, 12], [1.0, 2.0, np.nan], [0, 0, 64])
    columns = gather_columns([message])
    assert columns.channels_not_in(TABLE) == {99}
    assert sum(len(lane) for lane in lines_of([message], 3)) == 1
    (bad,) = quarantine_unknown(columns, frozenset({99}), 7)
    assert (bad.reason, bad.received_ns) == ("unknown_channel", 20_000_011)
    assert bad.detail == "2 readings of channel 99, which fleet revision 7 does not have"
    assert json.loads(bad.payload) == [
        {"time_ns": 11, "value": 2.0, "quality": 0},
        {"time_ns": 12, "value": None, "quality": 64},
    ]


def test_a_fleet_without_channels_knows_none():
    table = SeriesTable({})
    columns = gather_columns([scored_of(5, [1], [10], [1.0])])
    assert columns.channels_not_in(table) == {1}
    assert list(split_lanes(columns, table, 4)) == []


def test_the_last_word_on_an_hour_is_the_point():
    def told(stored, expected, gateway="gw-1"):
        return HourOfGateway("harbour", gateway, HOUR_NS, stored, expected)

    messages = [
        scored_of(1, [], [], [], completeness=(told(1, 2), told(0, 0, "gw-2"))),
        scored_of(2, [], [], [], completeness=(told(3, 4),)),
    ]
    assert build_completeness(newest_hours(messages)).text.decode().split("\n") == [
        f"completeness,district=harbour,gateway=gw-1 stored_batches=3i,expected_batches=4i,fraction=0.75 {HOUR_NS}",
        f"completeness,district=harbour,gateway=gw-2 stored_batches=0i,expected_batches=0i {HOUR_NS}",
    ]


def test_a_message_is_taken_once_in_each_partition():
    source = ScoredSource()
    first, second = (encode_scored(scored_of(offset, [1], [10], [1.0])) for offset in (7, 8))
    assert source.take(0, first).source_offset == 7
    assert source.take(0, first) is None
    assert source.take(1, first).source_offset == 7
    assert source.take(0, second).source_offset == 8
    assert source.take(0, first) is None
    assert source.skipped_total == 2
    with pytest.raises(RecordError):
        source.take(0, b"junk")


def test_of_a_large_payload_the_beginning_is_quarantined():
    (bad,) = quarantine_unknown(gather_columns([scored_of(5, [99], [10], [1.0])]), frozenset({99}), 1)
    row = quarantine_row(type(bad)(-5, "t" * 5_000, "r", "d" * 5_000, b"\xff" * 10_000))
    assert (row.received_ns, len(row.payload_hex)) == (0, 2 * PAYLOAD_BYTES_MAX)
    assert len(row.topic) == len(row.detail) == 1_000


def test_an_hour_without_a_district_makes_no_point_and_stops_nothing():
    messages = [scored_of(1, [], [], [], completeness=(HourOfGateway("", "gw-1", 0, 1, 1),))]
    assert newest_hours(messages) == []
