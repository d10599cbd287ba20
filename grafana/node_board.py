"""One node: what it reads, what of that may be trusted and why not, how unusual it is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase

from grafana_foundation_sdk.builders import dashboard, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from contracts.influx_schema import SCORE_WRITTEN_FROM, TAG_DISTRICT, TAG_GATEWAY, TAG_NODE, TAG_QUANTITY
from contracts.quality import REASONS, Level
from contracts.quantity import QUANTITIES, Quantity
from contracts.score import SCORES
from grafana import influx_query
from grafana.panel import (
    GREEN,
    HOURS,
    ORANGE,
    RAW,
    RED,
    TIME_COLUMN,
    YELLOW,
    board,
    choice,
    limit_line,
    lines,
    listing,
    rows,
    series,
    states,
)

HISTORY = "30d"
ACTION_LIMIT = 0.5
"""3 sigma (docs/scores.md)."""
_BY_QUANTITY = f"$tag_{TAG_QUANTITY}"
_COLOURS = {Level.GOOD: GREEN, Level.UNCERTAIN: YELLOW, Level.BAD: RED}


def build() -> dashboard.Dashboard:
    """The dashboard `node`."""
    return (
        board("node", "Node", "One node: values, quality, scores.", "now-6h")
        .with_variable(choice(TAG_DISTRICT, "District", influx_query.list_districts()))
        .with_variable(choice(TAG_GATEWAY, "Gateway", influx_query.list_gateways()))
        .with_variable(choice(TAG_NODE, "Node", influx_query.list_nodes(), is_multi=False))
        .with_variable(choice(TAG_QUANTITY, "Quantity", influx_query.list_quantities()))
        .with_panel(_values())
        .with_panel(_quality())
        .with_panel(_score())
        .with_panel(_history())
        .with_panel(_newest())
    )


def _values() -> timeseries.Panel:
    description = "Mean of each interval. Red points: what came with bad quality, and counts for nothing."
    panel = lines("Value", description, RAW).span(24).height(11)
    for names, shown in _alike():
        panel = panel.override_by_regexp(f"/^({names})( bad)?$/", shown)
    return (
        panel.override_by_regexp("/ bad$/", _BAD_POINTS)
        .with_target(series("A", RAW, influx_query.values_of_node(), _BY_QUANTITY))
        .with_target(series("B", RAW, influx_query.bad_values_of_node(), f"{_BY_QUANTITY} bad"))
    )


def _quality() -> statetimeline.Panel:
    description = "Empty where all readings are good, and where none came: look at the values."
    return (
        states("Quality", description, RAW)
        .mappings([_reasons()])
        .with_target(series("A", RAW, influx_query.quality_of_node(), _BY_QUANTITY))
    )


def _score() -> timeseries.Panel:
    """Points: a line would join scores between which the channel was as usual."""
    description = (
        "Distance from what is usual by each detector that the channel has, 0 to 1: "
        f"0.5 is 3 sigma, 0.8 is 12. Empty below {SCORE_WRITTEN_FROM:g}."
    )
    panel = lines("Score", description, RAW).draw_style(common_model.GraphDrawStyle.POINTS).decimals(3).min(0).max(1)
    for ref_id, score in zip(ascii_uppercase, SCORES, strict=False):
        alias = f"{_BY_QUANTITY} {influx_query.DETECTORS[score]}"
        panel = panel.with_target(series(ref_id, RAW, influx_query.scores_of_node(score), alias))
    return limit_line(panel, ACTION_LIMIT)


def _history() -> timeseries.Panel:
    panel = lines("By the hour", "Mean, lowest and highest of each hour: kept for ever.", HOURS)
    for names, shown in _alike():
        panel = panel.override_by_regexp(f"/^({names}) /", shown)
    return (
        panel.time_from(HISTORY)
        .interval("1h")
        .with_target(series("A", HOURS, influx_query.history_of_node(), f"{_BY_QUANTITY} $col"))
    )


def _newest() -> table.Panel:
    return (
        listing("Newest value", "How old the newest good value is.", RAW, TIME_COLUMN, is_descending=True)
        .span(24)
        .height(6)
        .with_target(rows("A", RAW, influx_query.latest_of_node()))
    )


_BAD_POINTS = [
    model.DynamicConfigValue("custom.drawStyle", "points"),
    model.DynamicConfigValue("custom.pointSize", 6),
    model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED}),
]


def _alike() -> Iterator[tuple[str, list[model.DynamicConfigValue]]]:
    """Names of quantities that are shown alike, as alternatives of a regular expression, and how they are shown."""
    alike: dict[tuple[str, int], list[Quantity]] = {}
    for quantity in QUANTITIES.values():
        alike.setdefault((quantity.unit_symbol, quantity.decimals), []).append(quantity)
    for quantities in alike.values():
        yield "|".join(quantity.name for quantity in quantities), _shown(quantities[0])


def _shown(quantity: Quantity) -> list[model.DynamicConfigValue]:
    """Unit and digits as the console shows them; a unit of Grafana's own would turn 1500 ppm into 0.15 %."""
    return [
        model.DynamicConfigValue("unit", f"suffix: {quantity.unit_symbol}" if quantity.unit_symbol else "none"),
        model.DynamicConfigValue("decimals", quantity.decimals),
    ]


def _reasons() -> model.ValueMap:
    """The text of each reason, in the colour of its level; lost and stale ones in orange."""
    return model.ValueMap(
        options={
            f"{reason:d}": model.ValueMappingResult(
                text=row.text,
                color=ORANGE if reason >= influx_query.FIRST_STALE else _COLOURS[row.level],
                index=index,
            )
            for index, (reason, row) in enumerate(REASONS.items())
        }
    )
