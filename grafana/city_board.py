"""The city at a glance: is what should come stored, is it good, and where is it strange? Pure.

Alarms are not here but on the console: they must not depend on InfluxDB.
"""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import bargauge, common, dashboard, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from contracts.influx_schema import COMPLETENESS_BUCKET, SCORE_WRITTEN_FROM, TAG_DISTRICT, TAGS
from contracts.score import SCORES
from grafana import influx_query
from grafana.panel import (
    COMPLETENESS_THRESHOLDS,
    GREEN,
    ORANGE,
    RAW,
    RECENT,
    RED,
    YELLOW,
    bars,
    board,
    by_threshold,
    choice,
    colour_column,
    hide_time,
    highest_of_row,
    lines,
    listing,
    rows,
    series,
    thresholds,
)

_FROM = f"{SCORE_WRITTEN_FROM:g}"
"""Lower scores are not in InfluxDB."""


def build() -> dashboard.Dashboard:
    """The dashboard `city`."""
    return (
        board("city", "City", "What of the city's data is stored, how much of it is good, what is unusual.", "now-6h")
        .with_variable(choice(TAG_DISTRICT, "District", influx_query.list_districts()))
        .with_panel(_completeness())
        .with_panel(_good_and_bad())
        .with_panel(_highest_scores())
        .with_panel(_worst_nodes())
    )


def _completeness() -> bargauge.Panel:
    query = influx_query.completeness_by_district()
    return (
        bars("Complete by district", "Batches stored of those that the gateways made.", COMPLETENESS_BUCKET)
        .unit("percentunit")
        .decimals(2)
        .min(0)
        .max(1)
        .thresholds(COMPLETENESS_THRESHOLDS)
        .color_scheme(by_threshold())
        .with_target(series("A", COMPLETENESS_BUCKET, query, f"$tag_{TAG_DISTRICT}"))
    )


def _good_and_bad() -> timeseries.Panel:
    description = "Share of readings with a value that may be trusted, and of bad ones."
    is_bad = [model.DynamicConfigValue("color", {"mode": "shades", "fixedColor": RED})]
    return (
        lines("Good and bad readings by domain", description, RAW)
        .time_from(RECENT)
        .interval("10s")
        .stacking(common.StackingConfig().mode(common_model.StackingMode.PERCENT))
        .fill_opacity(40)
        .min(0)
        .override_by_regexp("/ bad$/", is_bad)
        .with_target(series("A", RAW, influx_query.trusted_by_domain(), "$measurement"))
        .with_target(series("B", RAW, influx_query.bad_by_domain(), "$measurement bad"))
    )


def _highest_scores() -> table.Panel:
    """A query for each detector: InfluxQL can tell the highest of a field, but not of several fields."""
    description = f"Channels the farthest from what is usual, by each detector: 0.5 is 3 sigma, listed from {_FROM} on."
    column = influx_query.SCORE_COLUMN
    panel = listing("Highest scores", description, RAW, column, is_descending=True)
    steps = thresholds(GREEN, (0.6, YELLOW), (0.7, ORANGE), (0.8, RED))
    panel = colour_column(highest_of_row(panel, column, TAGS), column, steps).span(24).time_from(RECENT).decimals(3)
    for ref_id, score in zip(ascii_uppercase, SCORES, strict=False):
        panel = panel.with_target(rows(ref_id, RAW, influx_query.highest_scores(score)))
    return panel


def _worst_nodes() -> table.Panel:
    title = "Nodes with the most bad readings"
    description = "Where to send somebody: a click on a node shows why its readings are bad."
    panel = listing(title, description, RAW, influx_query.BAD_COLUMN, is_descending=True)
    return hide_time(panel).span(24).time_from(RECENT).with_target(rows("A", RAW, influx_query.worst_nodes()))
