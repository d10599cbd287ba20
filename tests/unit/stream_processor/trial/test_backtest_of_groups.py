"""Rules on the scores of groups over the archive: as live, whether they were stored or are made anew."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.fleet import FleetSnapshot
from contracts.record import Record, concatenate
from contracts.score import OTHER_SCORES
from contracts.uplink import BatchIdentity
from stream_processor.archive_columns import ArchiveRows, build_parts
from stream_processor.cli import main
from stream_processor.fleet_index import FleetIndex
from stream_processor.parquet_file import write_parquet
from stream_processor.pipeline.pipeline import Pipeline
from tests.scored_feed import fleet_of

SECOND_NS = 1_000_000_000
START_NS = 1_761_955_200 * SECOND_NS
CHANNELS, TICKS, TICK_S, TICKS_OF_FILE = 6, 1_700, 30, 425
RULE = "score_group_distance of temperature above 0.667"
CONDITION = {
    "condition_id": "node-3-alone", "channel_id": 4, "input": "score_group_distance", "set_point": 0.667,
    "priority": 2, "colour": "orange", "title": "Departs from its neighbours",
}  # fmt: skip


def records():
    """Six thermometers of one site that move together; one departs for ten minutes near the end."""
    chance = np.random.default_rng(11)
    for tick in range(TICKS):
        at_ns = START_NS + tick * TICK_S * SECOND_NS
        values = 20.0 + 3.0 * np.sin(tick / 40) + chance.normal(0.0, 0.1, CHANNELS)
        values[3] += 4.0 * (1_500 <= tick < 1_520)
        yield Record(
            channel_id=np.arange(1, CHANNELS + 1, dtype=np.uint32),
            phenomenon_ns=np.full(CHANNELS, at_ns),
            received_ns=np.full(CHANNELS, at_ns + 40_000_000),
            value=np.round(values, 1),
            reason=np.zeros(CHANNELS, np.uint8),
            is_historical=np.zeros(CHANNELS, np.bool_),
            batch_index=np.zeros(CHANNELS, np.int32),
            batches=(BatchIdentity("gw-0", 1, tick + 1),),
        )


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """What the live pipeline stored, and when the condition was active: (begin, score)."""
    folder = tmp_path_factory.mktemp("parquet")
    fleet = fleet_of(1, CHANNELS, ("temperature",)).model_dump()
    index = FleetIndex(FleetSnapshot.model_validate({**fleet, "conditions": [CONDITION]}))
    pipeline = Pipeline()
    pipeline.take_fleet(index)
    told = []
    everything = list(records())
    for first in range(0, TICKS, TICKS_OF_FILE):
        record = concatenate(everything[first : first + TICKS_OF_FILE])
        said = pipeline.step(record, 1)
        told += [(each.phenomenon_ns, each.input_value) for each in said.events if each.state == "active"]
        rows = ArchiveRows(
            record.channel_id, said.event_ns, record.phenomenon_ns, record.received_ns, record.value, said.reason,
            said.score_ewma_z, said.is_late, pa.array(["gw-0"] * len(record)),
            pa.array([1] * len(record), pa.uint64()), pa.array(record.batch_index.astype(np.uint64)), said.other_scores,
        )  # fmt: skip
        for part in build_parts(rows, index.contexts):
            (folder / part.folder).mkdir(parents=True, exist_ok=True)
            write_parquet(folder / part.folder / f"part-{first:04d}.parquet", part.table)
    assert told, "the departure must be seen live"
    return folder, told


@pytest.fixture
def fired(monkeypatch, capsys, tmp_path):
    """Backtests a rule; gives what it fired, (begin, score) of a channel, and what it said of the way."""

    def run(folder, condition, *more, channel="node-3/temperature"):
        out = tmp_path / "fired.parquet"
        arguments = ["backtest", "--archive", folder, "--condition", condition, "--out", out, *more]
        monkeypatch.setattr(sys, "argv", ["stream-processor", *map(str, arguments)])
        main()
        table = pq.read_table(out)
        rows = table.set_column(3, "begin", table.column("begin").cast(pa.int64())).to_pylist()
        return [
            (row["begin"], row["input_value"]) for row in rows if row["channel"] == channel
        ], capsys.readouterr().out

    return run


@pytest.fixture
def of_before(archive, tmp_path):
    """The archive as it was before the other scores were stored."""
    for path in archive[0].rglob("*.parquet"):
        target = tmp_path / "before" / path.relative_to(archive[0])
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(list(OTHER_SCORES)), target)
    return tmp_path / "before"


@pytest.fixture
def definition(tmp_path):
    path = tmp_path / "conditions.json"
    path.write_text(json.dumps([CONDITION]))
    return path


def test_a_groups_rule_fires_as_it_did_live_stored_or_anew(archive, fired):
    folder, live = archive
    stored, how = fired(folder, RULE, "--stored-scores")
    assert stored == live
    assert "quality and scores as stored, conditions anew\n" in how
    assert fired(folder, RULE)[0] == live


def test_a_definition_about_one_channel_is_judged_with_the_channels_of_its_group(archive, fired, definition):
    folder, live = archive
    assert fired(folder, definition)[0] == live
    assert fired(folder, definition, "--stored-scores")[0] == live


def test_groups_whose_scores_were_not_stored_are_scored_again_with_all_their_channels(
    archive, of_before, fired, definition
):
    for condition in (RULE, definition):
        again, how = fired(of_before, condition, "--stored-scores")
        assert again == archive[1]
        assert f"; {CHANNELS} channels without stored scores on some day: quality and scores anew" in how


def test_a_group_of_which_one_channel_has_no_stored_scores_is_scored_again_whole(archive, tmp_path, fired):
    partly = tmp_path / "partly"
    for path in archive[0].rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        score = [None if row["channel_id"] == 2 else row["score_group_distance"] for row in table.to_pylist()]
        at = table.column_names.index("score_group_distance")
        (partly / path.relative_to(archive[0])).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            table.set_column(at, "score_group_distance", pa.array(score, pa.float64())),
            partly / path.relative_to(archive[0]),
        )
    again, how = fired(partly, RULE, "--stored-scores")
    assert again == archive[1]
    assert f"; {CHANNELS} channels without" in how


def test_a_backtest_of_forests_says_the_same_each_time(archive, fired):
    rule = "score_group_forest of temperature above 0.4"
    first, _ = fired(archive[0], rule)
    assert first
    assert fired(archive[0], rule)[0] == first
