"""Panels, variables and links as all dashboards have them: grafana-foundation-sdk with our defaults. Pure.

The SDK is a tool of whoever builds the dashboards; what runs is the JSON that it gives.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, dashboard, statetimeline, table, timeseries
from grafana_foundation_sdk.cog import builder as cogbuilder
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model

from contracts.influx_schema import READINGS, READINGS_1H, READINGS_1M, Bucket
from grafana.source import TAG, source_uid

SOURCE_TYPE: Final = "influxdb"
NOTHING: Final = "nothing stored"
RECENT: Final = "15m"
"""How far back panels look that read all raw data of the city."""

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"
TIME_COLUMN: Final = "Time"
_AGO: Final = "dateTimeFromNow"
_ALL: Final = "$__all"
_NODE_URL: Final = f"/d/{TAG}-node?var-node=${{__value.raw:percentencode}}&${{__url_time_range}}"


def source(bucket: Bucket) -> model.DataSourceRef:
    """The data source that reads a bucket."""
    return model.DataSourceRef(SOURCE_TYPE, source_uid(bucket))


RAW, MINUTES, HOURS = READINGS, READINGS_1M, READINGS_1H


class InfluxqlTarget(variants.Dataquery):
    """A query of a panel. The SDK has none for InfluxDB; fields as in Grafana's `datasource/influxdb/types.ts`."""

    def __init__(self, ref_id: str, bucket: Bucket, query: str, result_format: str, alias: str) -> None:
        self.ref_id, self.bucket, self.query, self.result_format, self.alias = (
            ref_id,
            bucket,
            query,
            result_format,
            alias,
        )

    def to_json(self) -> dict[str, object]:
        """As Grafana stores it."""
        document: dict[str, object] = {
            "refId": self.ref_id,
            "datasource": source(self.bucket),
            "query": self.query,
            "rawQuery": True,
            "resultFormat": self.result_format,
        }
        return document | ({"alias": self.alias} if self.alias else {})


class _Built(cogbuilder.Builder[variants.Dataquery]):
    def __init__(self, target: InfluxqlTarget) -> None:
        self._target = target

    def build(self) -> variants.Dataquery:
        return self._target


def series(ref_id: str, bucket: Bucket, query: str, alias: str) -> cogbuilder.Builder[variants.Dataquery]:
    """A query that gives lines over time, named by `alias`."""
    return _Built(InfluxqlTarget(ref_id, bucket, query, "time_series", alias))


def rows(ref_id: str, bucket: Bucket, query: str) -> cogbuilder.Builder[variants.Dataquery]:
    """A query that gives a table."""
    return _Built(InfluxqlTarget(ref_id, bucket, query, "table", ""))


def board(name: str, title: str, description: str, since: str) -> dashboard.Dashboard:
    """An empty dashboard: times as the reader's browser has them, half a minute old at most."""
    return (
        dashboard.Dashboard(title)
        .uid(f"{TAG}-{name}")
        .description(description)
        .tags([TAG])
        .timezone("browser")
        .time(since, "now")
        .refresh("30s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(
            dashboard.DashboardLink("Dashboards")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .include_vars(True)
        )
    )


def choice(name: str, label: str, query: str, *, is_multi: bool = True) -> dashboard.QueryVariable:
    """A variable that lists what InfluxDB has; several or all can be chosen unless it is of one."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(source(RAW))
        .query(query)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
    )
    if not is_multi:
        return variable
    chosen = model.VariableOption(True, ["All"], [_ALL])
    return variable.multi(True).include_all(True).all_value(".*").current(chosen)


def lines(title: str, description: str, bucket: Bucket) -> timeseries.Panel:
    """Lines over time, with the last and the highest value in the legend."""
    legend = (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_model.LegendDisplayMode.TABLE)
        .placement(common_model.LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )
    return (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(source(bucket))
        .span(12)
        .height(9)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI))
        .line_width(1)
        .span_nulls(False)
        .no_value(NOTHING)
    )


def bars(title: str, description: str, bucket: Bucket) -> bargauge.Panel:
    """One bar for each series, from its last value."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(source(bucket))
        .span(12)
        .height(9)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value(NOTHING)
    )


def states(title: str, description: str, bucket: Bucket) -> statetimeline.Panel:
    """One strip for each series."""
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(source(bucket))
        .span(24)
        .height(8)
        .show_value(common_model.VisibilityMode.AUTO)
        .merge_values(True)
        .no_value(NOTHING)
    )


def listing(title: str, description: str, bucket: Bucket, sorted_by: str, *, is_descending: bool) -> table.Panel:
    """A table of all series of its queries; a node in it leads to its dashboard, a time is told as an age."""
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(source(bucket))
        .span(12)
        .height(9)
        .with_transformation(model.DataTransformerConfig(id_val="merge", options={}))
        .sort_by([common.TableSortByFieldState().display_name(sorted_by).desc(is_descending)])
        .override_by_name(TIME_COLUMN, [model.DynamicConfigValue("unit", _AGO)])
        .override_by_name("node", [model.DynamicConfigValue("links", [{"title": "Show this node", "url": _NODE_URL}])])
        .no_value(NOTHING)
    )


def highest_of_row(panel: table.Panel, column: str, tags: Iterable[str]) -> table.Panel:
    """With the highest number of each row in a column of its own, behind the time and before the tags."""
    highest = {"mode": "reduceRow", "reduce": {"reducer": "max"}, "alias": column, "replaceFields": False}
    order = {name: place for place, name in enumerate((TIME_COLUMN, column, *tags))}
    return panel.with_transformation(
        model.DataTransformerConfig(id_val="calculateField", options=highest)
    ).with_transformation(model.DataTransformerConfig(id_val="organize", options={"indexByName": order}))


def limit_line(panel: timeseries.Panel, value: float) -> timeseries.Panel:
    """With a line across at a value."""
    style = common.GraphThresholdsStyleConfig().mode(common_model.GraphTresholdsStyleMode.DASHED)
    return panel.thresholds(thresholds("transparent", (value, ORANGE))).thresholds_style(style)


def hide_time(panel: table.Panel) -> table.Panel:
    """Without the column of times, which of a count is no more than the beginning of the range."""
    return panel.override_by_name(TIME_COLUMN, [model.DynamicConfigValue("custom.hidden", True)])


def colour_column(panel: table.Panel, column: str, steps: dashboard.ThresholdsConfig) -> table.Panel:
    """With the numbers of a column coloured by their value."""
    properties = [model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"})]
    return panel.thresholds(steps).override_by_name(column, properties)


def thresholds(first: str, *steps: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Colours by value: the first from below, each other one from its value on."""
    every = [model.Threshold(None, first), *(model.Threshold(value, colour) for value, colour in steps)]
    return dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE).steps(every)


def by_threshold() -> dashboard.FieldColor:
    """Coloured by thresholds."""
    return dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS)


COMPLETENESS_THRESHOLDS: Final = thresholds(RED, (0.99, YELLOW), (0.9999, GREEN))
"""Below 99 % somebody should look; what is missing is asked for again, so that a yellow hour may turn green."""
