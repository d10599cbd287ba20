"""Health of the way from gateway to store: what is missing, what is late, what comes in bad. Pure."""

from __future__ import annotations

from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, dashboard, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as common_model

from contracts.influx_schema import COMPLETENESS_BUCKET, TAG_DISTRICT, TAG_GATEWAY
from grafana import influx_query
from grafana.panel import (
    COMPLETENESS_THRESHOLDS,
    MINUTES,
    RAW,
    RECENT,
    TIME_COLUMN,
    board,
    by_threshold,
    choice,
    colour_column,
    hide_time,
    lines,
    listing,
    rows,
    series,
    states,
)

_BY_GATEWAY = f"$tag_{TAG_DISTRICT} $tag_{TAG_GATEWAY}"


def build() -> dashboard.Dashboard:
    """The dashboard `pipeline`."""
    return (
        board("pipeline", "Pipeline", "From gateway to store: what is missing, late or bad.", "now-24h")
        .with_variable(choice(TAG_DISTRICT, "District", influx_query.list_districts()))
        .with_variable(choice(TAG_GATEWAY, "Gateway", influx_query.list_gateways()))
        .with_panel(_completeness())
        .with_panel(_least_complete())
        .with_panel(_missing())
        .with_panel(_rate())
        .with_panel(_causes())
        .with_panel(_newest())
        .with_panel(_stale())
    )


def _completeness() -> statetimeline.Panel:
    description = "Batches stored of those that the gateway made in the hour. With many gateways, choose some above."
    return (
        states("Complete by gateway and hour", description, COMPLETENESS_BUCKET)
        .unit("percentunit")
        .decimals(1)
        .thresholds(COMPLETENESS_THRESHOLDS)
        .color_scheme(by_threshold())
        .with_target(series("A", COMPLETENESS_BUCKET, influx_query.completeness_by_hour(), _BY_GATEWAY))
    )


def _least_complete() -> table.Panel:
    description = "The gateways' worst hours. A batch that is missing is asked for until its gateway says it is lost."
    column = influx_query.COMPLETENESS_COLUMN
    panel = listing("Least complete hours", description, COMPLETENESS_BUCKET, column, is_descending=False)
    return (
        colour_column(panel, column, COMPLETENESS_THRESHOLDS)
        .unit("percentunit")
        .decimals(2)
        .with_target(rows("A", COMPLETENESS_BUCKET, influx_query.least_complete_hours()))
    )


def _missing() -> timeseries.Panel:
    return (
        lines("Missing batches", "Expected and not stored, by gateway and hour.", COMPLETENESS_BUCKET)
        .decimals(0)
        .min(0)
        .draw_style(common_model.GraphDrawStyle.BARS)
        .fill_opacity(60)
        .with_target(series("A", COMPLETENESS_BUCKET, influx_query.missing_by_hour(), _BY_GATEWAY))
    )


def _rate() -> timeseries.Panel:
    return (
        lines("Readings per second", "Stored readings with a value that may be trusted, by domain.", MINUTES)
        .interval("1m")
        .unit("suffix: /s")
        .min(0)
        .with_target(series("A", MINUTES, influx_query.readings_per_second(), "$measurement"))
    )


def _causes() -> timeseries.Panel:
    panel = (
        lines("Readings that are not good, by cause", "By domain and cause; a reading has one reason.", RAW)
        .time_from(RECENT)
        .interval("10s")
        .stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL))
        .fill_opacity(40)
        .min(0)
    )
    for ref_id, (cause, (first, last)) in zip(ascii_uppercase, influx_query.CAUSES.items(), strict=False):
        query = influx_query.bad_by_cause(first, last)
        panel = panel.with_target(series(ref_id, RAW, query, f"$measurement: {cause}"))
    return panel


def _newest() -> table.Panel:
    description = "The oldest first: here something hangs between gateway and store."
    return listing("Newest reading by gateway", description, RAW, TIME_COLUMN, is_descending=False).with_target(
        rows("A", RAW, influx_query.newest_by_gateway())
    )


def _stale() -> table.Panel:
    description = "Channels that were marked stale or lost lately: gateway offline, line lost, or nothing heard."
    panel = listing("Stale channels", description, RAW, influx_query.STALE_COLUMN, is_descending=True)
    return hide_time(panel).time_from(RECENT).with_target(rows("A", RAW, influx_query.stale_channels()))
