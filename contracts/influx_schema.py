"""The schema of InfluxDB: measurements, tags, fields, buckets. Data that sink, set-up command and dashboards read.

A point is one observation: measurement = domain of the site; tags = which channel; fields = what was measured; its
time is the event time in integer nanoseconds. The node's tag already decides district and gateway, so that a fleet of
100,000 nodes with 3 channels each is 300,000 series (InfluxDB 1.x: `index-version = "tsi1"`). Channels that nobody
speaks for any more get a point with `quality` alone. Beside the domains stands `COMPLETENESS`.

A field is written only where it says something, because the server's cost is by field: there is no `quality` on a good
observation, and no score on one that is as usual (`SCORE_WRITTEN_FROM`). Each detector's score is a field of its own,
named as in `contracts.alarm.ConditionInput`. Therefore a value that may not be trusted does not stand in `value` at
all: it stands in `bad_value`, and `mean(value)` is right without any filter.

A point that is written again replaces the fields that it has; it removes none (InfluxDB, duplicate points).
Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ (section "Duplicate points").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from contracts.alarm import ConditionInput
from contracts.fleet import Domain
from contracts.score import SCORES, STANDARD

SECONDS_PER_DAY: Final = 86_400


class FieldType(StrEnum):
    """Types of InfluxDB that we use. The first write of a field to a shard fixes its type there."""

    FLOAT = "float"
    """IEEE 754 binary64; NaN and infinities cannot be written."""
    INTEGER = "integer"
    """Signed, 64 bits; `64i` in line protocol."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a point."""

    field_type: FieldType
    meaning: str


VALUE: Final = "value"
BAD_VALUE: Final = "bad_value"
SCORE_EWMA_Z: Final = STANDARD.value
QUALITY: Final = "quality"

SCORE_WRITTEN_FROM: Final = 0.5
"""A score (0 to 1) is written only from here on: 0.5 is three standard deviations, the action limits of a control chart
(ISO 7870-2:2013, Shewhart control charts; Shewhart 1931): 1 reading in 370 of normally distributed noise is beyond
them. Where `value` stands without a score, the score was lower, or there was none. Parquet has all scores, the read API
the newest of each channel, and score conditions are evaluated before anything is written."""

MEASUREMENTS: Final = tuple(Domain)
"""One measurement a domain; each has the same tags and fields."""

TAG_DISTRICT: Final = "district"
TAG_GATEWAY: Final = "gateway"
TAG_NODE: Final = "node"
TAG_QUANTITY: Final = "quantity"
TAGS: Final = (TAG_DISTRICT, TAG_GATEWAY, TAG_NODE, TAG_QUANTITY)
"""In the order of their names, which is the order that InfluxDB sorts them to."""

# All but the first are only on points of channels that are scored so (`contracts.detector_set`); those of groups say
# how unusual the group's last frame is.
_SCORE_MEANING: Final = f"how unusual by this detector, 0 to 1, from {SCORE_WRITTEN_FROM:g} on; none for bad readings"

FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        VALUE: Field(FieldType.FLOAT, "good or uncertain, in the quantity's unit"),
        BAD_VALUE: Field(FieldType.FLOAT, "what came with bad quality: for diagnosis, never for a mean"),
        **{score.value: Field(FieldType.FLOAT, _SCORE_MEANING) for score in SCORES},
        QUALITY: Field(FieldType.INTEGER, "contracts.quality.Reason; absent where it is 0 (good)"),
    }
)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where points are kept, for how long, at which resolution."""

    name: str
    retention_s: int
    """0: for ever."""
    shard_group_s: int
    """How much time one shard covers; retention is by whole shards."""
    window_s: int = 0
    """One point for each series and window of this length; 0: every point as it came."""
    lateness_s: int = 0
    """How far back the windows are computed anew at each run, for readings that come late."""
    run_every_s: int = 0
    """How often the windows are computed."""

    @property
    def is_downsampled(self) -> bool:
        """Whether the server computes this bucket from `READINGS`."""
        return self.window_s > 0


READINGS: Final = Bucket("readings", retention_s=30 * SECONDS_PER_DAY, shard_group_s=SECONDS_PER_DAY)
"""Every point. Parquet has all data for ever; a query beyond the retention goes there."""
READINGS_1M: Final = Bucket(
    "readings_1m",
    retention_s=400 * SECONDS_PER_DAY,
    shard_group_s=7 * SECONDS_PER_DAY,
    window_s=60,
    lateness_s=900,
    run_every_s=600,
)
READINGS_1H: Final = Bucket(
    "readings_1h",
    retention_s=0,
    shard_group_s=28 * SECONDS_PER_DAY,
    window_s=3600,
    lateness_s=2 * SECONDS_PER_DAY,
    run_every_s=3600,
)
BUCKETS: Final = (READINGS, READINGS_1M, READINGS_1H)

AGGREGATES: Final = ("mean", "min", "max", "count")
"""Of `value`, in a downsampled bucket, as fields `value_mean` … (`count` is an integer, the others floats). All are of
the raw points, never of another aggregate: a mean of means is not a mean."""


def aggregate_field(aggregate: str) -> str:
    """The field of a downsampled bucket that holds this aggregate of `value`."""
    return f"{VALUE}_{aggregate}"


def score_maximum_field(score: ConditionInput) -> str:
    """The field of a downsampled bucket that holds the highest of a score, of those that are in `READINGS`.

    It is absent where all of the window were below `SCORE_WRITTEN_FROM`.
    """
    return f"{score.value}_max"


COMPLETENESS: Final = "completeness"
"""Measurement beside the domains, in bucket `READINGS_1H` (kept for ever): how much of each hour of a gateway is
stored. One point a gateway and hour, at the hour's beginning (UTC); written again whenever the hour has changed."""
COMPLETENESS_BUCKET: Final = READINGS_1H
COMPLETENESS_TAGS: Final = (TAG_DISTRICT, TAG_GATEWAY)
STORED_BATCHES: Final = "stored_batches"
EXPECTED_BATCHES: Final = "expected_batches"
FRACTION: Final = "fraction"
COMPLETENESS_FIELDS: Final[Mapping[str, Field]] = MappingProxyType(
    {
        STORED_BATCHES: Field(FieldType.INTEGER, "batches of this hour that are stored"),
        EXPECTED_BATCHES: Field(FieldType.INTEGER, "batches that the gateway must have made in this hour"),
        FRACTION: Field(FieldType.FLOAT, "stored of expected, 0 to 1; absent where nothing is expected"),
    }
)


def series_tags(district_id: str, gateway_id: str, node_id: str, quantity: str) -> tuple[tuple[str, str], ...]:
    """Tags of a channel's points, in the order of `TAGS`."""
    return tuple(zip(TAGS, (district_id, gateway_id, node_id, quantity), strict=True))
