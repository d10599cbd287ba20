"""What a set of scored messages is in InfluxDB: points, completeness, and what has no place there. Pure.

Channels that nobody speaks for any more get a point too, with their quality alone, so that a chart shows since when
nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.influx_schema import (
    COMPLETENESS,
    COMPLETENESS_TAGS,
    EXPECTED_BATCHES,
    FRACTION,
    STORED_BATCHES,
)
from contracts.kafka_topic import SCORED
from contracts.notice import ChannelsLost, Quarantined
from contracts.record import Floats, Int64s, UInt8s, UInt32s
from contracts.record_message import HourOfGateway, ScoredMessage
from contracts.score_columns import OtherScores, join_scores, select_scores
from stream_processor.line_protocol import Body, Points, format_series
from stream_processor.series_table import SeriesTable

UNKNOWN_CHANNEL: Final = "unknown_channel"
REFUSED_BY_INFLUXDB: Final = "refused_by_influxdb"
_READINGS_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class StoreColumns:
    """Points of several messages before it is known which series they belong to."""

    channel_id: UInt32s
    time_ns: Int64s
    received_ns: Int64s
    value: Floats
    reason: UInt8s
    score_ewma_z: Floats
    other_scores: OtherScores

    def channels_not_in(self, table: SeriesTable) -> frozenset[int]:
        """Channels that the fleet does not have."""
        _, is_known = table.find(self.channel_id)
        return frozenset(np.unique(self.channel_id[~is_known]).tolist())


@dataclass(frozen=True, slots=True)
class Lane:
    """Points of some series, to be written in their order; other lanes may be written meanwhile."""

    points: Points
    received_ns: Int64s


def gather_columns(messages: Sequence[ScoredMessage]) -> StoreColumns:
    """The rows of all messages in order, then what was lost."""
    lost = [each for message in messages for each in message.channels_lost]
    lost_ids = [channel_id for each in lost for channel_id in each.channel_ids]
    lost_ns = _of_lost(lost, [each.time_ns for each in lost], np.int64)
    no_number = np.full(len(lost_ids), np.nan)
    records = [message.record for message in messages]
    return StoreColumns(
        channel_id=np.concatenate([*(each.channel_id for each in records), np.array(lost_ids, np.uint32)]),
        time_ns=np.concatenate([*(message.event_ns for message in messages), lost_ns]),
        received_ns=np.concatenate([*(each.received_ns for each in records), lost_ns]),
        value=np.concatenate([*(each.value for each in records), no_number]),
        reason=np.concatenate(
            [*(each.reason for each in records), _of_lost(lost, [int(each.reason) for each in lost], np.uint8)]
        ),
        score_ewma_z=np.concatenate([*(message.score_ewma_z for message in messages), no_number]),
        other_scores=join_scores(
            [*((message.other_scores, len(message.record)) for message in messages), ({}, len(lost_ids))]
        ),
    )


def split_lanes(columns: StoreColumns, table: SeriesTable, count: int) -> Iterator[Lane]:
    """The points of known channels in at most `count` lanes. A series is in one lane, so that its order is kept."""
    rows, is_known = table.find(columns.channel_id)
    lane_of = np.where(is_known, rows % count, -1)
    for number in range(count):
        which = np.flatnonzero(lane_of == number)
        if len(which):
            points = Points(
                rows[which],
                columns.time_ns[which],
                columns.value[which],
                columns.reason[which],
                columns.score_ewma_z[which],
                select_scores(columns.other_scores, which),
            )
            yield Lane(points, columns.received_ns[which])


def quarantine_unknown(columns: StoreColumns, channel_ids: frozenset[int], revision: int) -> Iterator[Quarantined]:
    """One row for each channel that the fleet does not have, with its first readings."""
    for channel_id in sorted(channel_ids):
        which = np.flatnonzero(columns.channel_id == channel_id)
        yield Quarantined(
            received_ns=int(columns.received_ns[which[0]]),
            topic=SCORED.name,
            reason=UNKNOWN_CHANNEL,
            detail=f"{len(which)} readings of channel {channel_id}, which fleet revision {revision} does not have",
            payload=json.dumps([_reading(columns, int(at)) for at in which[:_READINGS_SHOWN]]).encode(),
        )


def newest_hours(messages: Sequence[ScoredMessage]) -> list[HourOfGateway]:
    """The last word on each gateway and hour. One without a district makes no point: no line can have an empty tag."""
    hours = {(hour.gateway_id, hour.hour_ns): hour for message in messages for hour in message.completeness}
    return writable_hours(hours.values())


def writable_hours(hours: Iterable[HourOfGateway]) -> list[HourOfGateway]:
    """Those that say what they belong to."""
    return [hour for hour in hours if hour.district_id and hour.gateway_id]


def build_completeness(hours: Sequence[HourOfGateway]) -> Body:
    """Points of `COMPLETENESS`, one an hour of a gateway. There must be one hour at least."""
    lines = [_completeness_line(hour) for hour in hours]
    return Body("\n".join(lines).encode(), np.arange(len(lines), dtype=np.intp))


def _completeness_line(hour: HourOfGateway) -> str:
    tags = zip(COMPLETENESS_TAGS, (hour.district_id, hour.gateway_id), strict=True)
    fields = f"{STORED_BATCHES}={hour.stored_batches}i,{EXPECTED_BATCHES}={hour.expected_batches}i"
    if hour.expected_batches > 0:
        fields += f",{FRACTION}={min(1.0, hour.stored_batches / hour.expected_batches)!r}"
    return f"{format_series(COMPLETENESS, tags)}{fields} {hour.hour_ns}"


def _of_lost(lost: Sequence[ChannelsLost], values: Sequence[int], dtype: Any) -> NDArray[Any]:  # noqa: ANN401
    """A value of each loss for each of its channels."""
    return np.repeat(np.array(values, dtype), [len(each.channel_ids) for each in lost]) if lost else np.zeros(0, dtype)


def _reading(columns: StoreColumns, at: int) -> dict[str, float | int | None]:
    value = float(columns.value[at])
    return {
        "time_ns": int(columns.time_ns[at]),
        "value": value if np.isfinite(value) else None,
        "quality": int(columns.reason[at]),
    }
