"""The committed dashboards: as the code builds them, whole, and in the words of the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from contracts.influx_schema import (
    AGGREGATES,
    BUCKETS,
    COMPLETENESS,
    COMPLETENESS_BUCKET,
    COMPLETENESS_FIELDS,
    FIELDS,
    MEASUREMENTS,
    READINGS,
    TAGS,
    aggregate_field,
)
from contracts.quality import REASONS, Reason
from contracts.quantity import QUANTITIES
from contracts.score import SCORES
from grafana import influx_query
from grafana.build_dashboards import FOLDER, render_files
from grafana.source import source_uid

NAMES = ("city", "node", "pipeline")
OWN_COLUMNS = {"bad", "code", "highest", "mean", "min", "max"}
"""Columns that a query names for itself."""
SHOWN_COLUMNS = {
    influx_query.COMPLETENESS_COLUMN,
    *influx_query.DETECTORS.values(),
    influx_query.BAD_COLUMN,
    influx_query.STALE_COLUMN,
    influx_query.MISSING_COLUMN,
}
GRID_COLUMNS = 24


def committed(name: str) -> dict:
    return json.loads((FOLDER / f"dashboards/{name}.json").read_text(encoding="utf-8"))


def targets(name: str) -> list[tuple[dict, dict]]:
    """Every panel with each of its queries."""
    return [(panel, target) for panel in committed(name)["panels"] for target in panel["targets"]]


each_board = pytest.mark.parametrize("name", NAMES)


@pytest.mark.parametrize("path", render_files())
def test_a_committed_file_is_what_the_code_builds(path: str) -> None:
    assert (FOLDER / path).read_text(encoding="utf-8") == render_files()[path], (
        "run: python -m grafana.build_dashboards"
    )


def test_there_are_no_other_dashboards() -> None:
    assert {path.stem for path in (FOLDER / "dashboards").iterdir()} == set(NAMES)


def test_check_writes_nothing_and_says_that_all_is_well() -> None:
    command = [sys.executable, "-m", "grafana.build_dashboards", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@each_board
def test_the_sdk_reads_back_what_it_wrote(name: str) -> None:
    document = committed(name)
    again = json.loads(json.dumps(Dashboard.from_json(document), cls=JSONEncoder))
    assert again == document


@each_board
def test_a_dashboard_can_be_found_read_and_left(name: str) -> None:
    document = committed(name)
    assert document["uid"] == f"citysense-{name}"
    assert document["title"]
    assert document["description"]
    assert document["timezone"] == "browser"
    assert re.fullmatch(r"\d+[sm]", document["refresh"])
    assert document["time"]["to"] == "now"
    assert document["editable"] is False, "it is provisioned: a change would be lost"
    assert [(link["type"], link["tags"], link["keepTime"]) for link in document["links"]] == [
        ("dashboards", document["tags"], True)
    ]


@each_board
def test_panels_have_numbers_titles_reasons_and_a_place_of_their_own(name: str) -> None:
    panels = committed(name)["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"] == "nothing stored", panel["title"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        assert max(x for x, _ in cells) < GRID_COLUMNS
        taken |= cells


@each_board
def test_every_query_asks_a_provisioned_source_in_influxql(name: str) -> None:
    known = {source_uid(bucket) for bucket in BUCKETS}
    for panel, target in targets(name):
        assert target["datasource"] == {"type": "influxdb", "uid": target["datasource"]["uid"]}
        assert target["datasource"]["uid"] in known
        assert target["rawQuery"] is True
        assert target["resultFormat"] == ("table" if panel["type"] == "table" else "time_series")
        assert len({each["refId"] for each in panel["targets"]}) == len(panel["targets"])


@each_board
def test_every_query_is_bounded_in_time_and_knows_only_names_of_the_schema(name: str) -> None:
    schema = {COMPLETENESS, *MEASUREMENTS, *TAGS, *FIELDS, *map(aggregate_field, AGGREGATES), *COMPLETENESS_FIELDS}
    for panel, target in targets(name):
        assert target["query"].count("$timeFilter") == 1, panel["title"]
        unknown = set(re.findall(r'"([^"]+)"', target["query"])) - schema - OWN_COLUMNS - SHOWN_COLUMNS
        assert not unknown, f"{panel['title']}: {unknown}"


@each_board
def test_a_query_reads_fields_that_its_bucket_has(name: str) -> None:
    aggregates = {aggregate_field(each) for each in AGGREGATES}
    for panel, target in targets(name):
        names = set(re.findall(r'"([^"]+)"', target["query"]))
        uid = target["datasource"]["uid"]
        assert not (names & set(FIELDS)) or uid == source_uid(READINGS), panel["title"]
        assert not (names & aggregates) or uid != source_uid(READINGS), panel["title"]
        assert not (names & set(COMPLETENESS_FIELDS)) or uid == source_uid(COMPLETENESS_BUCKET), panel["title"]


@each_board
def test_the_variables_of_the_queries_are_those_of_the_dashboard_in_an_order_that_can_be_resolved(name: str) -> None:
    document = committed(name)
    variables = document["templating"]["list"]
    known: set[str] = set()
    for variable in variables:
        assert set(re.findall(r"\$\{(\w+):regex\}", variable["query"])) - {variable["name"]} <= known
        assert variable["datasource"]["uid"] == source_uid(READINGS)
        known.add(variable["name"])
        if variable["multi"]:
            assert (variable["includeAll"], variable["allValue"]) == (True, ".*")
    for panel, target in targets(name):
        assert set(re.findall(r"\$\{(\w+):regex\}", target["query"])) <= known, panel["title"]
        aliases = set(re.findall(r"\$tag_(\w+)", target.get("alias", "")))
        assert aliases <= set(re.findall(r'"(\w+)"', target["query"].partition("GROUP BY")[2])), panel["title"]


@each_board
def test_panels_that_read_all_raw_data_of_a_city_look_back_a_quarter_of_an_hour(name: str) -> None:
    for panel, target in targets(name):
        is_raw = target["datasource"]["uid"] == source_uid(READINGS)
        is_of_one_node = "${node:regex}" in target["query"]
        is_last_only = target["query"].startswith("SELECT last(")
        if is_raw and not is_of_one_node and not is_last_only:
            assert panel["timeFrom"] == "15m", panel["title"]


@pytest.mark.parametrize(("name", "title"), [("node", "Score"), ("city", "Highest scores")])
def test_every_score_is_shown_under_the_name_of_its_detector(name: str, title: str) -> None:
    (panel,) = [each for each in committed(name)["panels"] if each["title"] == title]
    assert len(panel["targets"]) == len(SCORES)
    for score, target in zip(SCORES, panel["targets"], strict=True):
        detector = score.value.removeprefix("score_")
        assert f'max("{score.value}")' in target["query"]
        assert target.get("alias", f"$tag_quantity {detector}") == f"$tag_quantity {detector}"
        assert name == "node" or f'AS "{detector}"' in target["query"]


def test_the_highest_score_of_a_row_is_a_column_of_its_own_by_which_the_list_is_sorted() -> None:
    (panel,) = [each for each in committed("city")["panels"] if each["title"] == "Highest scores"]
    merge, highest, order = panel["transformations"]
    assert merge["id"] == "merge"
    assert (highest["id"], highest["options"]["reduce"]["reducer"]) == ("calculateField", "max")
    (sorted_by,) = panel["options"]["sortBy"]
    assert highest["options"]["alias"] == sorted_by["displayName"] == influx_query.SCORE_COLUMN
    assert order["options"]["indexByName"] == {
        "Time": 0,
        "score": 1,
        "district": 2,
        "gateway": 3,
        "node": 4,
        "quantity": 5,
    }


def test_scores_have_a_line_at_three_sigma() -> None:
    (panel,) = [each for each in committed("node")["panels"] if each["title"] == "Score"]
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "dashed"
    assert [step["value"] for step in defaults["thresholds"]["steps"]] == [None, 0.5]


def test_every_quantity_is_shown_with_its_unit_and_digits() -> None:
    (panel,) = [each for each in committed("node")["panels"] if each["title"] == "Value"]
    overrides = panel["fieldConfig"]["overrides"]
    for quantity in QUANTITIES.values():
        properties = {
            each["id"]: each["value"]
            for override in overrides
            if re.search(override["matcher"]["options"].strip("/"), quantity.name)
            for each in override["properties"]
        }
        assert properties["decimals"] == quantity.decimals
        assert properties["unit"] == (f"suffix: {quantity.unit_symbol}" if quantity.unit_symbol else "none")


@pytest.mark.parametrize(("title", "suffix"), [("Value", ""), ("Value", " bad"), ("By the hour", " mean")])
def test_no_quantity_is_shown_in_two_ways(title: str, suffix: str) -> None:
    (panel,) = [each for each in committed("node")["panels"] if each["title"] == title]
    matchers = [override["matcher"] for override in panel["fieldConfig"]["overrides"]]
    patterns = [each["options"] for each in matchers if each["id"] == "byRegexp" and each["options"] != "/ bad$/"]
    for name in QUANTITIES:
        fitting = [pattern for pattern in patterns if re.search(pattern.strip("/"), f"{name}{suffix}")]
        assert len(fitting) == 1, (name, fitting)


def test_every_reason_has_its_text_on_the_quality_strip() -> None:
    (panel,) = [each for each in committed("node")["panels"] if each["title"] == "Quality"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    assert {code: shown["text"] for code, shown in mapping["options"].items()} == {
        f"{reason:d}": row.text for reason, row in REASONS.items()
    }


def test_every_reason_that_is_not_good_has_exactly_one_cause() -> None:
    for reason in set(Reason) - {Reason.OK}:
        causes = [cause for cause, (first, last) in influx_query.CAUSES.items() if first <= reason <= last]
        assert len(causes) == 1, reason


def test_the_data_sources_are_one_for_each_bucket_and_hold_no_secret() -> None:
    text = (FOLDER / "provisioning/datasources/influxdb.yaml").read_text()
    assert re.findall(r"^  uid: (.+)$", text, re.MULTILINE) == [source_uid(bucket) for bucket in BUCKETS]
    assert re.findall(r"^    dbName: (.+)$", text, re.MULTILINE) == [bucket.name for bucket in BUCKETS]
    headers = re.findall(r"httpHeaderValue1: (.+)$", text, re.MULTILINE)
    assert headers == ["Token $__file{/run/secrets/influxdb_token}"] * len(BUCKETS)
    assert text.count("isDefault: true") == 1


def test_grafana_finds_the_dashboards_where_compose_puts_them() -> None:
    provider = (FOLDER / "provisioning/dashboards/citysense.yaml").read_text()
    (path,) = re.findall(r"^    path: (.+)$", provider, re.MULTILINE)
    compose = (Path(__file__).parents[3] / "deploy/compose.yaml").read_text()
    assert f"../grafana/dashboards:{path}:ro" in compose
