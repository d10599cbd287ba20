"""`stream-processor score` and `backtest` as an engineer calls them, over files and over the archive's own files."""

from __future__ import annotations

import csv
import json
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from contracts.record import Record, concatenate, select
from contracts.score import OTHER_SCORES
from contracts.uplink import BatchIdentity
from stream_processor.archive_columns import ArchiveRows, build_parts
from stream_processor.cli import main
from stream_processor.detectors import DETECTORS
from stream_processor.fleet_index import FleetIndex
from stream_processor.parquet_file import write_parquet
from stream_processor.pipeline.pipeline import Pipeline

DAY_NS = 86_400_000_000_000
SECOND_NS = 1_000_000_000
RULE = "methane_lel above 25 deadband 2 on 2s off 3s"


@pytest.fixture
def call(monkeypatch, capsys):
    """Calls the program; gives its exit code, output and errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["stream-processor", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "series.csv"
    values = [10.0 + each % 7 for each in range(120)]
    values[100] = 60.0
    path.write_text("time,flow,label\n" + "".join(f"{each * 60},{value},0\n" for each, value in enumerate(values)))
    return path


# --- score -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_score_is_a_column_and_every_line_a_line(call, series, tmp_path, suffix):
    out, plot = tmp_path / f"out{suffix}", tmp_path / "out.svg"
    code, told, errors = call("score", series, "--time", "time", "--values", "flow", "--out", out, "--plot", plot)
    assert (code, errors) == (0, "")
    assert "1970-01-01T01:40:00Z" in told, "the jump of line 102 is the highest"
    rows = list(csv.DictReader(out.read_text().splitlines())) if suffix == ".csv" else pq.read_table(out).to_pylist()
    assert len(rows) == 120
    assert list(rows[0]) == ["time", "flow", "flow_reason", "flow_is_late", *(f"flow_{name}" for name in DETECTORS)]
    assert float(rows[100]["flow_ewma_z"]) > 0.8
    assert rows[0]["flow_ewma_z"] in {"", None}
    assert ET.fromstring(plot.read_text()).tag.endswith("svg")
    assert {each.name for each in tmp_path.iterdir()} == {series.name, out.name, plot.name}


def test_a_file_that_breaks_off_in_a_fault_leaves_nothing_and_keeps_what_was_there(call, series, tmp_path, monkeypatch):
    monkeypatch.setattr("stream_processor.trial.csv_table.BATCH_CELLS", 30)
    series.write_text(series.read_text() + "7200,x,0\n")
    out = tmp_path / "out.csv"
    out.write_text("before")
    code, told, errors = call("score", series, "--time", "time", "--values", "flow", "--out", out)
    assert (code, told) == (1, "")
    assert errors == f"stream-processor score: {series}: line 122: column 'flow': 'x' is no number\n"
    assert out.read_text() == "before"
    assert {each.name for each in tmp_path.iterdir()} == {series.name, out.name}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--values", "flow,label", "--detectors", "guess"], "no detector guess among"),
        (["--values", "flow", "--out", "a.txt"], "suffix"),
        (["--values", "flow", "--group"], "one column is no group"),
        (["--values", "flow", "--threshold", "3"], "between 0 and 1"),
        (["--values", "flow", "--quantity", "flow=joy"], "'joy' is not one of"),
        (["--values", "flow", "--quantity", "floww=flow"], "'floww' is none of the columns flow"),
        (["--values", "flow", "--decimals", "flow=many"], "--decimals"),
        (["--values", "flow", "--period", "0"], "--period"),
        ([], "--config FILE for the worker, or FILE --values"),
    ],
)
def test_a_wrong_wish_is_told_in_one_line(call, series, arguments, words):
    code, told, errors = call("score", series, *arguments)
    assert (code, told) == (1, "")
    assert words in errors
    assert errors.count("\n") == 1


def test_groups_and_columns_without_times_are_scored(call, series):
    arguments = ["--values", "flow,label", "--group", "--detectors", "ewma_z", "--period", "60"]
    code, told, _ = call("score", series, *arguments)
    assert code == 0
    assert "group_distance  (all columns)" in told
    assert "rows 60 s apart" in told


# --- backtest --------------------------------------------------------------------------------------------------------


@pytest.fixture
def readings(fleet):
    """Two days of two channels, 1 s apart for ten minutes of each: leaks, bad readings, a late one, a wrong clock."""
    chance = np.random.default_rng(5)
    parts = []
    for day in range(2):
        for second in range(600):
            start_ns = 1_761_955_200_000_000_000 + day * DAY_NS
            values = np.round(chance.normal(5.0, 1.0, 2), 1)
            values[0] += 30.0 if 100 <= second < 110 or 400 <= second < 401 else 0.0
            values[1] += 22.0 * (200 <= second < 260)
            parts.append(_record(start_ns + second * SECOND_NS, values, second))
    return concatenate(parts)


def _record(at_ns, values, second):
    reason = np.array([Reason.OK, Reason.CRC_ERROR if second % 50 == 7 else Reason.OK], dtype=np.uint8)
    is_late = second == 300
    phenomenon_ns = np.full(2, at_ns - (200 * SECOND_NS if is_late else 0))
    return Record(
        channel_id=np.array([11, 12], dtype=np.uint32),
        phenomenon_ns=phenomenon_ns,
        received_ns=np.full(2, at_ns + 40_000_000),
        value=values + (40.0 if is_late else 0.0),  # a bad reading may have one, too
        reason=reason,
        is_historical=np.full(2, is_late),
        batch_index=np.zeros(2, dtype=np.int32),
        batches=(BatchIdentity("gw-1", 1, second + 1),),
    )


@pytest.fixture
def archive(tmp_path, fleet, readings):
    """What the live pipeline said of the readings, in the archive's own files, and the events that it told."""
    rules = [
        {
            "condition_id": f"gas-{channel_id}", "channel_id": channel_id, "set_point": 25.0, "deadband": 2.0,
            "on_delay_s": 2.0, "off_delay_s": 3.0, "priority": 1, "colour": "red", "title": "Methane above 25 %LEL",
        }
        for channel_id in (11, 12)
    ]  # fmt: skip
    index = FleetIndex(FleetSnapshot.model_validate({**fleet.model_dump(), "conditions": rules}))
    pipeline = Pipeline()
    pipeline.take_fleet(index)
    events = []
    folder = tmp_path / "parquet"
    for number, first in enumerate(range(0, len(readings), 400)):
        said = pipeline.step(select(readings, slice(first, first + 400)), 1)
        events += said.events
        for part in build_parts(_archive_rows(said), index.contexts):
            (folder / part.folder).mkdir(parents=True, exist_ok=True)
            write_parquet(folder / part.folder / f"part-{number}.parquet", part.table)
    definitions = tmp_path / "rules.json"
    definitions.write_text(json.dumps(rules))
    return folder, definitions, events


def _archive_rows(said):
    record = said.record
    batches = [record.batches[each] for each in record.batch_index]
    return ArchiveRows(
        record.channel_id, said.event_ns, record.phenomenon_ns, record.received_ns, record.value, said.reason,
        said.score_ewma_z, said.is_late, pa.array([each.gateway_id for each in batches]),
        pa.array([each.epoch for each in batches], pa.uint64()),
        pa.array([each.batch for each in batches], pa.uint64()),
        said.other_scores,
    )  # fmt: skip


def _activations(path):
    table = pq.read_table(path)
    columns = table.set_column(3, "begin", table.column("begin").cast(pa.int64())).to_pydict()
    return sorted(zip(*(columns[name] for name in ("begin", "channel", "value", "is_historical")), strict=True))


def test_a_rule_fires_over_the_archive_when_the_live_pipeline_fired(call, archive, tmp_path):
    folder, definitions, events = archive
    live = sorted(
        (each.phenomenon_ns, f"{each.node_id}/{each.quantity}", each.value, each.is_historical)
        for each in events
        if each.state == "active"
    )
    assert len([each for each in live if not each[3]]) >= 4
    out = tmp_path / "fired.parquet"
    for condition in (definitions, RULE):
        code, told, errors = call("backtest", "--archive", folder, "--condition", condition, "--out", out)
        assert (code, errors) == (0, "")
        assert _activations(out) == live, condition
        assert f"fired: {len([each for each in live if not each[3]])} times" in told


def test_the_whole_pipeline_anew_fires_as_what_was_stored(call, archive, tmp_path):
    folder, _, _ = archive
    stored, anew = tmp_path / "stored.parquet", tmp_path / "anew.parquet"
    both = ["--condition", RULE, "--condition", "score_ewma_z of methane_lel above 0.8"]
    assert call("backtest", "--archive", folder, *both, "--stored-scores", "--out", stored)[0] == 0
    code, told, _ = call("backtest", "--archive", folder, *both, "--out", anew)
    assert (code, "scores and conditions anew" in told) == (0, True)
    assert _activations(anew) == _activations(stored)
    assert len(_activations(anew)) > 4


NOVELTY_RULE = "score_novelty of methane_lel above 0.7"


def _leave_out_scores(folder, pattern):
    """Makes files as they were before the other scores were stored."""
    for path in folder.glob(pattern):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(list(OTHER_SCORES)), path)


def _forget_channel(folder, channel_id):
    """Makes files as if a channel had not been scored by novelty."""
    for path in folder.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        kept = pc.if_else(pc.equal(table.column("channel_id"), channel_id), None, table.column("score_novelty"))
        pq.write_table(table.set_column(table.column_names.index("score_novelty"), "score_novelty", kept), path)


def test_stored_scores_of_any_detector_fire_as_the_whole_pipeline_anew(call, archive, tmp_path):
    folder, _, _ = archive
    stored, anew = tmp_path / "stored.parquet", tmp_path / "anew.parquet"
    rules = ["--condition", RULE, "--condition", NOVELTY_RULE]
    code, told, _ = call("backtest", "--archive", folder, *rules, "--stored-scores", "--out", stored)
    assert (code, "; quality and scores as stored, conditions anew\n" in told) == (0, True)
    assert call("backtest", "--archive", folder, *rules, "--out", anew)[0] == 0
    assert _activations(stored) == _activations(anew)
    assert {name for _, name, _, _ in _activations(stored)} == {"gas-001/methane_lel", "gas-002/methane_lel"}


def test_what_is_stored_is_taken_and_not_scored_again(call, archive, tmp_path, monkeypatch):
    folder, _, _ = archive
    monkeypatch.setattr(Pipeline, "step", lambda *_: pytest.fail("scored again"))
    code, _, errors = call("backtest", "--archive", folder, "--condition", NOVELTY_RULE, "--stored-scores")
    assert (code, errors) == (0, "")


def test_only_channels_without_stored_scores_are_scored_again(call, archive, tmp_path):
    folder, _, _ = archive
    anew, partly = tmp_path / "anew.csv", tmp_path / "partly.csv"
    rule = ["--condition", NOVELTY_RULE]
    assert call("backtest", "--archive", folder, *rule, "--out", anew)[0] == 0
    _forget_channel(folder, 12)
    code, told, _ = call("backtest", "--archive", folder, *rule, "--stored-scores", "--out", partly)
    assert code == 0
    assert "conditions anew; 1 channels without stored scores on some day: quality and scores anew" in told
    before, after = (list(csv.DictReader(path.read_text().splitlines())) for path in (anew, partly))
    assert [each["begin"] for each in after] == sorted(each["begin"] for each in after)
    for rows in (before, after):
        rows.sort(key=lambda each: (each["begin"], each["channel"]))
    assert [{**each, "why": ""} for each in after] == [{**each, "why": ""} for each in before]
    assert {each["channel"]: bool(each["why"]) for each in after} == {
        "gas-001/methane_lel": False,
        "gas-002/methane_lel": True,
    }, "what was stored does not say why"


def test_days_of_before_the_other_scores_were_stored_are_scored_again(call, archive, tmp_path):
    folder, _, _ = archive
    anew, mixed = tmp_path / "anew.parquet", tmp_path / "mixed.parquet"
    rule = ["--condition", NOVELTY_RULE]
    assert call("backtest", "--archive", folder, *rule, "--out", anew)[0] == 0
    _leave_out_scores(folder, "date=2025-11-01/*/*.parquet")
    code, told, errors = call("backtest", "--archive", folder, *rule, "--stored-scores", "--out", mixed)
    assert (code, errors) == (0, "")
    assert "; 2 channels without stored scores on some day" in told
    assert _activations(mixed) == _activations(anew)
    assert call("backtest", "--archive", folder, "--condition", RULE, "--stored-scores")[0] == 0


def test_a_rule_on_any_detectors_score_says_why_it_fired(call, archive, tmp_path):
    folder, _, _ = archive
    out = tmp_path / "fired.csv"
    rule = "score_novelty of methane_lel above 0.8"
    assert call("backtest", "--archive", folder, "--condition", rule, "--out", out)[0] == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert rows
    assert all("nearest seen before" in each["why"] for each in rows)


def test_days_can_be_chosen_and_the_plot_is_a_picture(call, archive, tmp_path):
    folder, _, _ = archive
    plot = tmp_path / "a.svg"
    arguments = ["--condition", RULE, "--from", "2025-11-02", "--plot", plot]
    code, told, _ = call("backtest", "--archive", folder, *arguments)
    assert code == 0
    assert "2025-11-02T00:00:00Z to 2025-11-02T00:09:59Z" in told
    titles = [each.text for each in ET.fromstring(plot.read_text()).iter("{http://www.w3.org/2000/svg}title")]
    assert any("gas-001/methane_lel" in each for each in titles)


def test_a_rule_over_a_file_of_ones_own(call, series, tmp_path):
    code, told, errors = call(
        "backtest", "--file", series, "--time", "time", "--values", "flow", "--condition", "flow above 50 off 2min"
    )
    assert (code, errors) == (0, "")
    line = next(each for each in told.splitlines() if each.startswith("flow"))
    assert line.split()[1:5] == ["1", "3.0", "min", "3.0"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--condition", "flow above"], "is not: "),
        (["--condition", "speed above 3"], "'speed': the columns are flow"),
        (["--condition", "none.json"], "none.json: cannot be read"),
        (["--condition", "flow above 3", "--out", "a.txt"], "suffix"),
    ],
)
def test_a_wrong_backtest_is_told_in_one_line(call, series, arguments, words):
    code, told, errors = call("backtest", "--file", series, "--time", "time", "--values", "flow", *arguments)
    assert (code, told) == (1, "")
    assert words in errors


def test_an_archive_without_files_or_without_the_quantity_is_a_fault(call, archive, tmp_path):
    folder, _, _ = archive
    assert "no files date=" in call("backtest", "--archive", tmp_path / "none", "--condition", RULE)[2]
    assert "no readings" in call("backtest", "--archive", folder, "--condition", "strain above 1")[2]
    assert "--from" in call("backtest", "--archive", folder, "--condition", RULE, "--from", "yesterday")[2]
