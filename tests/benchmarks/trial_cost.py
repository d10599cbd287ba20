"""Trials: `backtest` over an archive, `score` over tables; readings a second and core, reading of the files included.

The archive has the live one's columns and encodings: 1,000 channels of methane, one reading in 10 s for 12 hours, in
files of an hour; a value is a slow walk with noise in steps of 0.1; one reading in a hundred thousand starts a leak of
20 minutes; quality and scores (EWMA z, novelty) are the live pipeline's. *Stored* takes quality and scores as they
stand in the files and runs the conditions, *anew* runs the whole pipeline again. Tables are Parquet: what a detector
does for one reading at a time costs most where a row has few columns. CPU time of one process; Parquet is read with the
threads that pyarrow takes, so its time is that of all of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.alarm import ConditionInput
from contracts.fleet import Channel, Domain, Node, Site
from contracts.quantity import QUANTITIES
from contracts.record import Record
from contracts.score import OTHER_SCORES, STANDARD
from contracts.uplink import BatchIdentity
from stream_processor.archive_columns import ArchiveRows, build_parts
from stream_processor.detectors import DETECTORS
from stream_processor.distributed.rebuild_plan import Selection
from stream_processor.fleet_index import ChannelContext
from stream_processor.parquet_file import write_parquet
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.trial.backtest_run import BacktestRun
from stream_processor.trial.rule_text import Rule, define_all, parse_rule
from stream_processor.trial.score_run import ScoreRun
from stream_processor.trial.stored_history import Choice, find_unscored, read_history
from stream_processor.trial.table import TableLayout
from stream_processor.trial.table_file import read_table
from stream_processor.trial.trial_channel import choose_channels, index_of_contexts

NOVELTY: Final = ConditionInput.SCORE_NOVELTY
CHANNELS: Final = 1_000
PERIOD_S: Final = 10
HOURS: Final = 12
LEAK_S: Final = 1_200
START_NS: Final = 1_761_955_200_000_000_000
SECOND_NS: Final = 1_000_000_000
TABLES: Final = ((1, 10_000), (10, 10_000), (100, 2_000), (1_000, 400))
"""Columns and rows."""


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory(prefix="citysense-bench-") as name:
        archive = Path(name) / "parquet"
        write_archive(archive)
        yield f"  {'backtest':<56}{'readings':>12}{'fired':>8}{'readings/s/core':>18}"
        yield _measure_rule(archive, parse_rule("methane_lel above 25 deadband 2 on 10s off 30s"), is_stored=True)
        for kind in (STANDARD, NOVELTY):
            for is_stored in (False, True):
                yield _measure_rule(archive, parse_rule(f"{kind} of methane_lel above 0.8"), is_stored)
        yield f"  score, {len(DETECTORS)} detectors                               readings           readings/s/core"
        for columns, rows in TABLES:
            yield _measure_table(Path(name) / f"{columns}.parquet", columns, rows)


def _measure_rule(archive: Path, rule: Rule, is_stored: bool) -> str:
    before_s = time.process_time()
    trial = BacktestRun()
    scores = (rule.input,) if rule.input in OTHER_SCORES else ()
    choice = Choice(Selection(date(2025, 1, 1), date(2026, 12, 31)), frozenset({rule.what}), frozenset(), scores)
    if is_stored:
        assert not any(find_unscored(archive, choice, kind) for kind in scores), "a day without scores"
    for stored in read_history(archive, choice):
        if stored.new_contexts:
            what = ((channel_id, each.channel.quantity) for channel_id, each in stored.new_contexts.items())
            trial.take_channels(stored.new_contexts, define_all([rule], what))
        if is_stored:
            trial.step_stored(stored.record, stored.score_ewma_z, stored.other_scores)
        else:
            trial.step(stored.record)
    spent_s = time.process_time() - before_s
    text = f"{rule.text}, {'stored' if is_stored else 'anew'}"
    return f"  {text:<56}{trial.readings:>12,}{len(trial.book.episodes):>8,}{trial.readings / spent_s:>18,.0f}"


def _measure_table(path: Path, columns: int, rows: int) -> str:
    chance = np.random.default_rng(1)
    names = tuple(f"c{each}" for each in range(columns))
    table = {name: np.round(chance.normal(10.0, 1.0, rows), 1) for name in names}
    pq.write_table(pa.table({"t": np.arange(rows) * 60 + START_NS // SECOND_NS, **table}), path)
    before_s = time.process_time()
    run = None
    for batch in read_table(path, TableLayout(values=names, time="t")):
        if run is None:
            run = ScoreRun(
                choose_channels(names, batch.values, {}, {}), {name: new() for name, new in DETECTORS.items()}
            )
        run.step(batch)
    spent_s = time.process_time() - before_s
    readings = columns * rows
    return f"  {columns:>5,} columns, {rows:>6,} rows{'':<22}{readings:>12,}{'':>8}{readings / spent_s:>18,.0f}"


def write_archive(folder: Path) -> None:
    """Files of an hour, as the archive job closes them."""
    contexts = {each: _context(each) for each in range(1, CHANNELS + 1)}
    pipeline = Pipeline()
    pipeline.take_fleet(index_of_contexts(contexts.values()))
    chance = np.random.default_rng(7)
    level = chance.normal(4.0, 1.0, CHANNELS)
    leak_left = np.zeros(CHANNELS, dtype=np.int64)
    for hour in range(HOURS):
        ticks = 3_600 // PERIOD_S
        values = np.empty((ticks, CHANNELS))
        for tick in range(ticks):
            level += chance.normal(0.0, 0.01, CHANNELS)
            leak_left[chance.random(CHANNELS) < 1e-5] = LEAK_S // PERIOD_S
            values[tick] = level + chance.normal(0.0, 0.2, CHANNELS) + np.where(leak_left > 0, 30.0, 0.0)
            leak_left = np.maximum(leak_left - 1, 0)
        rows = _rows(hour, np.round(values, 1), pipeline)
        for part in build_parts(rows, contexts):
            target = folder / part.folder
            target.mkdir(parents=True, exist_ok=True)
            write_parquet(target / f"part-{hour:04d}.parquet", part.table)


def _rows(hour: int, values: np.ndarray, pipeline: Pipeline) -> ArchiveRows:
    ticks, channels = values.shape
    count = ticks * channels
    at_ns = START_NS + (hour * 3_600 + np.repeat(np.arange(ticks), channels) * PERIOD_S) * SECOND_NS
    record = Record(
        channel_id=np.tile(np.arange(1, channels + 1, dtype=np.uint32), ticks),
        phenomenon_ns=at_ns,
        received_ns=at_ns + 200_000_000,
        value=values.reshape(-1),
        reason=np.zeros(count, dtype=np.uint8),
        is_historical=np.zeros(count, dtype=np.bool_),
        batch_index=np.zeros(count, dtype=np.int32),
        batches=(BatchIdentity("gw-1", 1, hour + 1),),
    )
    said = pipeline.step(record, 1)
    return ArchiveRows(
        channel_id=record.channel_id,
        event_ns=said.event_ns,
        phenomenon_ns=at_ns,
        received_ns=record.received_ns,
        value=record.value,
        reason=said.reason,
        score_ewma_z=said.score_ewma_z,
        is_late=said.is_late,
        gateway_id=pa.array(["gw-1"] * count, pa.string()).dictionary_encode(),
        epoch=pa.array(np.full(count, 1, np.uint64)),
        batch=pa.array(at_ns // SECOND_NS, pa.uint64()),
        other_scores=said.other_scores,
    )


def _context(channel_id: int) -> ChannelContext:
    site = Site(site_id="site", district_id="d", domain=Domain.GAS, name="s", latitude=0.0, longitude=0.0)
    node = Node(node_id=f"n-{channel_id:05d}", gateway_id="gw-1", bus_id="b", site_id="site", model="m")
    channel = Channel(channel_id=channel_id, node_id=node.node_id, quantity="methane_lel", scores=(NOVELTY,))
    return ChannelContext(channel, node, site, QUANTITIES["methane_lel"])


if __name__ == "__main__":
    for line in measure():
        print(line)
