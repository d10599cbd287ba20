"""What the dashboards ask InfluxDB, in InfluxQL: built from the schema in `contracts`, no name is typed twice. Pure.

InfluxQL, because 1.8, 2.x (through its compatibility API) and 3 all speak it. Grafana puts in `$timeFilter`,
`$__interval`, `$__interval_ms` and the dashboards' variables before it asks; `${name:regex}` stands in a regular
expression whether one value, several or all are chosen. A value that may not be trusted never stands in `value`, so
that no query here needs a filter for it.

Sources: https://docs.influxdata.com/influxdb/v1/query_language/ ; grafana/grafana `pkg/tsdb/influxdb/models/query.go`
(what is put in for the macros).
"""
# ruff: noqa: S608  # built from constants; what a reader chooses is put in by Grafana, and no query can write

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from contracts.alarm import ConditionInput
from contracts.influx_schema import (
    BAD_VALUE,
    COMPLETENESS,
    COMPLETENESS_TAGS,
    EXPECTED_BATCHES,
    FRACTION,
    MEASUREMENTS,
    QUALITY,
    STORED_BATCHES,
    TAG_DISTRICT,
    TAG_GATEWAY,
    TAG_NODE,
    TAG_QUANTITY,
    TAGS,
    VALUE,
    aggregate_field,
)
from contracts.quality import REASONS, Level, Reason
from contracts.score import SCORES

LIST_ROWS: Final = 20
"""Rows of a table of the worst."""
COMPLETENESS_COLUMN: Final = "complete"
SCORE_COLUMN: Final = "score"
"""The highest of the detectors' columns."""
DETECTORS: Final = {score: score.value.removeprefix("score_") for score in SCORES}
"""Their names by score: columns of tables, and names of lines."""
BAD_COLUMN: Final = "bad readings"
STALE_COLUMN: Final = "stale channels"
MISSING_COLUMN: Final = "missing batches"

CAUSES: Final = {
    "clock not synchronised": (1, 63),
    "device or line": (64, 79),
    "the device says so": (80, 95),
    "the value itself": (96, 127),
    "line or gateway lost, stale": (128, 255),
}
"""Codes from and to, as `contracts.quality.Reason` groups them."""
_FIRST_BAD: Final = min(reason for reason, row in REASONS.items() if row.level is Level.BAD)
FIRST_STALE: Final = Reason.BUS_LOST
"""Codes from here on: nobody speaks for the channel any more."""


def _quote(name: str) -> str:
    return f'"{name}"'


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(_quote, names))


_CHANNELS: Final = _list(MEASUREMENTS)
_ALL_TAGS: Final = _list(TAGS)
_GATEWAY_TAGS: Final = _list(COMPLETENESS_TAGS)
_IN_DISTRICT: Final = f"{_quote(TAG_DISTRICT)} =~ /^${{{TAG_DISTRICT}:regex}}$/"
_OF_GATEWAY: Final = f"{_IN_DISTRICT} AND {_quote(TAG_GATEWAY)} =~ /^${{{TAG_GATEWAY}:regex}}$/"
_OF_NODE: Final = (
    f"{_quote(TAG_NODE)} =~ /^${{{TAG_NODE}:regex}}$/ AND {_quote(TAG_QUANTITY)} =~ /^${{{TAG_QUANTITY}:regex}}$/"
)
_IS_BAD: Final = f"{_quote(QUALITY)} >= {_FIRST_BAD:d}"
_IS_STALE: Final = f"{_quote(QUALITY)} >= {FIRST_STALE:d}"


# --- variables -------------------------------------------------------------------------------------------------------


def list_districts() -> str:
    """All districts."""
    return f"SHOW TAG VALUES FROM {_CHANNELS} WITH KEY = {_quote(TAG_DISTRICT)}"


def list_gateways() -> str:
    """Gateways of the chosen districts."""
    return f"SHOW TAG VALUES FROM {_CHANNELS} WITH KEY = {_quote(TAG_GATEWAY)} WHERE {_IN_DISTRICT}"


def list_nodes() -> str:
    """Nodes of the chosen gateways."""
    return f"SHOW TAG VALUES FROM {_CHANNELS} WITH KEY = {_quote(TAG_NODE)} WHERE {_OF_GATEWAY}"


def list_quantities() -> str:
    """What the chosen node measures."""
    of_node = f"{_quote(TAG_NODE)} =~ /^${{{TAG_NODE}:regex}}$/"
    return f"SHOW TAG VALUES FROM {_CHANNELS} WITH KEY = {_quote(TAG_QUANTITY)} WHERE {of_node}"


# --- city ------------------------------------------------------------------------------------------------------------


def completeness_by_district() -> str:
    """Stored of expected batches, 0 to 1; bucket `COMPLETENESS_BUCKET`."""
    share = f"sum({_quote(STORED_BATCHES)}) / sum({_quote(EXPECTED_BATCHES)})"
    return _select(
        f"{share} AS {_quote(COMPLETENESS_COLUMN)}", _quote(COMPLETENESS), _IN_DISTRICT, _quote(TAG_DISTRICT)
    )


def trusted_by_domain() -> str:
    """Number of readings with a value that may be trusted, over time."""
    return _over_time(f"count({_quote(VALUE)})", _IN_DISTRICT)


def bad_by_domain() -> str:
    """Number of bad readings, over time."""
    return _over_time(f"count({_quote(QUALITY)})", f"{_IS_BAD} AND {_IN_DISTRICT}")


def highest_scores(score: ConditionInput) -> str:
    """Channels that one detector found the farthest from what is usual, in a column of its name.

    Two steps: the highest score of each series is cheap, and only those are sorted.
    """
    inner = _select(f'max({_quote(score.value)}) AS "highest"', _CHANNELS, _IN_DISTRICT, _ALL_TAGS)
    return f'SELECT top("highest", {_ALL_TAGS}, {LIST_ROWS}) AS {_quote(DETECTORS[score])} FROM ({inner})'


def worst_nodes() -> str:
    """Nodes with the most bad readings."""
    tags = _list((TAG_DISTRICT, TAG_GATEWAY, TAG_NODE))
    inner = _select(f'count({_quote(QUALITY)}) AS "bad"', _CHANNELS, f"{_IS_BAD} AND {_IN_DISTRICT}", tags)
    return f'SELECT top("bad", {tags}, {LIST_ROWS}) AS {_quote(BAD_COLUMN)} FROM ({inner})'


# --- node ------------------------------------------------------------------------------------------------------------


def values_of_node() -> str:
    """Mean value of each interval; from `readings`."""
    return _over_time(f"mean({_quote(VALUE)})", _OF_NODE, TAG_QUANTITY)


def bad_values_of_node() -> str:
    """What came with bad quality, the last one of each interval."""
    return _over_time(f"last({_quote(BAD_VALUE)})", _OF_NODE, TAG_QUANTITY)


def quality_of_node() -> str:
    """The worst reason of each interval; none where all is good, and none where nothing came."""
    return _over_time(f"max({_quote(QUALITY)})", _OF_NODE, TAG_QUANTITY)


def scores_of_node(score: ConditionInput) -> str:
    """Highest score of each interval; none where all were below `SCORE_WRITTEN_FROM`."""
    return _over_time(f"max({_quote(score.value)})", _OF_NODE, TAG_QUANTITY)


def latest_of_node() -> str:
    """The newest value of each channel, and its time."""
    return _select(f"last({_quote(VALUE)}) AS {_quote(VALUE)}", _CHANNELS, _OF_NODE, _quote(TAG_QUANTITY))


def history_of_node() -> str:
    """Mean, lowest and highest value of each hour; from a downsampled bucket."""
    fields = ", ".join(
        f'{aggregate}({_quote(aggregate_field(aggregate))}) AS "{aggregate}"' for aggregate in ("mean", "min", "max")
    )
    return _over_time(fields, _OF_NODE, TAG_QUANTITY)


# --- pipeline --------------------------------------------------------------------------------------------------------


def completeness_by_hour() -> str:
    """Stored of expected batches of each gateway and hour."""
    return _hourly(f"mean({_quote(FRACTION)})", _OF_GATEWAY)


def missing_by_hour() -> str:
    """Batches that are expected and not stored."""
    missing = f"sum({_quote(EXPECTED_BATCHES)}) - sum({_quote(STORED_BATCHES)})"
    return _hourly(f"{missing} AS {_quote(MISSING_COLUMN)}", _OF_GATEWAY)


def least_complete_hours() -> str:
    """The hours of gateways of which the least is stored."""
    return (
        f"SELECT bottom({_quote(FRACTION)}, {_GATEWAY_TAGS}, {LIST_ROWS}) AS {_quote(COMPLETENESS_COLUMN)} "
        f"FROM {_quote(COMPLETENESS)} WHERE {_OF_GATEWAY} AND $timeFilter"
    )


def readings_per_second() -> str:
    """Readings with a value, by domain; from the bucket of minutes."""
    count = f"sum({_quote(aggregate_field('count'))})"
    return _over_time(f"{count} / ($__interval_ms / 1000)", _OF_GATEWAY)


def bad_by_cause(first: int, last: int) -> str:
    """Number of readings with a reason of this range of codes, by domain."""
    code = _quote(QUALITY)
    return _over_time(f"count({code})", f"{code} >= {first} AND {code} <= {last} AND {_OF_GATEWAY}")


def stale_channels() -> str:
    """Channels of each gateway of which a stale mark was stored."""
    inner = _select(f'last({_quote(QUALITY)}) AS "code"', _CHANNELS, f"{_IS_STALE} AND {_OF_GATEWAY}", _ALL_TAGS)
    return f'SELECT count("code") AS {_quote(STALE_COLUMN)} FROM ({inner}) GROUP BY {_GATEWAY_TAGS}'


def newest_by_gateway() -> str:
    """The newest value of each gateway: its time says how old the newest stored reading is."""
    return _select(f"last({_quote(VALUE)}) AS {_quote(VALUE)}", _CHANNELS, _OF_GATEWAY, _GATEWAY_TAGS)


# --- forms -----------------------------------------------------------------------------------------------------------


def _select(fields: str, measurements: str, where: str, group_by: str) -> str:
    return f"SELECT {fields} FROM {measurements} WHERE {where} AND $timeFilter GROUP BY {group_by}"


def _over_time(fields: str, where: str, *tags: str) -> str:
    by_tag = "".join(f", {_quote(tag)}" for tag in tags)
    return f"{_select(fields, _CHANNELS, where, f'time($__interval){by_tag}')} fill(none)"


def _hourly(fields: str, where: str) -> str:
    return f"{_select(fields, _quote(COMPLETENESS), where, f'time(1h), {_GATEWAY_TAGS}')} fill(none)"
