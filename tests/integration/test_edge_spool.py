"""The spool on a real disk: killed with -9, full, corrupt, not ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from contracts.ranges import RangeSet
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolUnusableError, SpoolWriteError
from edge_agent.reading_buffer import ReadingBuffer
from edge_agent.run_agent import CommitLoop
from edge_agent.spool_thread import SpoolThread
from edge_agent.store_readings import Spool

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
WRITER = """
import sys
from pathlib import Path
from edge_agent.store_readings import Spool
spool = Spool(Path(sys.argv[1]), 1 << 30, first_epoch=100)
epoch = spool.begin_epoch()
batch = 0
while True:
    batch += 1
    spool.commit([(epoch, batch, "bus", [("node", "level", batch * 1000 + row, float(row), 0) for row in range(50)])])
    print(epoch, batch, flush=True)
"""


def rows(count: int) -> list[tuple[str, str, int, float | None, int]]:
    return [("node", "level", 1_000_000 * number, 0.5, 0) for number in range(count)]


def open_spool(path: Path, disk_max_bytes: int = 64 * MIB) -> Spool:
    return Spool(path, disk_max_bytes, first_epoch=100)


def fill(spool: Spool) -> None:
    for batch in itertools.count(1):
        spool.commit([(100, batch, "bus", rows(1000))])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.sqlite"


def test_kill_9_at_any_moment_loses_no_committed_reading_and_invents_none(path):
    chance = random.Random(7)
    reported: set[tuple[int, int]] = set()
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
        assert writer.stdout is not None
        first = writer.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.15))
        writer.kill()
        lines = [first, *writer.stdout.read().splitlines(keepends=True)]
        writer.stdout.close()
        writer.wait(5)
        reported |= {(int(line.split()[0]), int(line.split()[1])) for line in lines if line.endswith(b"\n")}
    assert len({epoch for epoch, _ in reported}) == 8, "each start has its own epoch"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        sql = "SELECT epoch, batch, count(*), min(phenomenon_ns), max(phenomenon_ns) FROM reading GROUP BY 1, 2"
        stored = connection.execute(sql).fetchall()
        identities = set(connection.execute("SELECT epoch, batch FROM batch").fetchall())
    assert reported <= identities, "a commit that returned is on disk"
    assert len(identities - reported) <= 8, "at most the commit that was under way at each kill"
    assert {row[:2] for row in stored} == identities
    assert all(row[2:] == (50, row[1] * 1000, row[1] * 1000 + 49) for row in stored), "batches are whole"


def test_a_trigger_on_reading_sees_every_committed_row_with_its_batch(path):
    with contextlib.closing(open_spool(path)) as spool:
        with contextlib.closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE ledger (reading_id INTEGER, batch INTEGER, value REAL)")
            other.execute(
                "CREATE TRIGGER keep AFTER INSERT ON reading BEGIN"
                " INSERT INTO ledger VALUES (new.reading_id, new.batch, new.value); END"
            )
        spool.commit([(100, 1, "bus", rows(3)), (100, 2, "bus", rows(2))])
        assert spool.delete(100, RangeSet([(1, 2)])) == 5
        spool.commit([(100, 3, "bus", rows(1))])
        with contextlib.closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT reading_id, batch FROM ledger").fetchall() == [
                (1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 3),
            ]  # fmt: skip


def test_only_acknowledged_batches_are_deleted_and_the_others_read_back_as_they_were(path):
    with contextlib.closing(open_spool(path)) as spool:
        readings = [("n1", "level", 5, 1.25, 0), ("n2", "level", 5, None, 64)]
        spool.commit([(100, batch, "bus", readings) for batch in range(1, 6)])
        spool.commit([(101, 2, "bus", readings)])
        assert spool.delete(100, RangeSet([(2, 3), (5, 900)])) == 6
        left = spool.read_batches_after((-1, -1), 10)
        assert [(one.epoch, one.batch) for one in left] == [(100, 1), (100, 4), (101, 2)]
        assert all(one.readings == readings for one in left)
        assert [(one.epoch, one.batch) for one in spool.read_batches_after((100, 1), 1)] == [(100, 4)]
        assert spool.read_batch(100, 2) is None
        assert list(spool.existing(100, 0, 2**64, 10)) == [(1, 1), (4, 4)]


def test_a_large_acknowledgement_is_deleted_in_steps_and_completely(path):
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([(100, batch, "bus", rows(10)) for batch in range(1, 2501)])
        assert spool.delete(100, RangeSet([(1, 2499)])) == 24_990
        assert spool.status().reading_count == 10


def test_epochs_grow_with_each_start_and_bd_seq_wraps_after_255(path):
    with contextlib.closing(open_spool(path)) as spool:
        assert spool.begin_epoch() == 100
        assert [spool.begin_connection() for _ in range(257)] == [*range(256), 0]
    with contextlib.closing(open_spool(path)) as spool:
        assert spool.begin_epoch() == 101
        assert spool.begin_connection() == 1


def test_reading_ids_are_never_used_again_even_if_all_rows_were_deleted(path):
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([(100, 1, "bus", rows(5))])
        spool.delete(100, RangeSet([(1, 1)]))
    with contextlib.closing(open_spool(path)) as spool, contextlib.closing(sqlite3.connect(path)) as other:
        spool.commit([(101, 1, "bus", rows(1))])
        assert other.execute("SELECT reading_id FROM reading").fetchall() == [(6,)]


def test_a_full_disk_refuses_a_whole_commit_and_takes_it_when_there_is_room_again(path):
    with contextlib.closing(open_spool(path, MIB)) as spool:
        with pytest.raises(SpoolWriteError, match="full"):
            fill(spool)
        batch = spool.status().batch_count
        assert batch >= 5
        assert spool.read_batch(100, batch + 1) is None, "nothing of the refused commit is there"
        assert spool.status().reading_count == 1000 * batch
        spool.delete(100, RangeSet([(1, 2)]))
        spool.commit([(100, batch + 1, "bus", rows(1000))])
        assert spool.read_batch(100, batch + 1) is not None


def test_a_full_disk_is_reported_and_costs_no_reading_that_still_fits_into_memory(path, caplog):
    """CommitLoop on a spool that is full: handed to the uplink all the same, kept, and committed when there is room."""

    class Received:
        def __init__(self) -> None:
            self.sealed = []

        def put(self, sealed) -> None:
            self.sealed.append(sealed)

    async def scenario() -> None:
        channels = ChannelTable()
        alias = channels.add("bus", "node", "level")
        spool = open_spool(path, MIB)
        with contextlib.suppress(SpoolWriteError):
            for batch in range(10_000):
                spool.commit([(99, batch, "bus", rows(100))])
        thread = SpoolThread(spool, channels)
        buffer = ReadingBuffer(100, 5_000)
        received = Received()
        commits = CommitLoop(buffer, channels, thread, received, 1.0, 200)
        commits.put("bus", [(alias, 1_000_000 * number, 1.0, 0) for number in range(3_000)])
        await commits.flush()
        assert commits.failed_commits_total == 1
        assert [batch.batch for batch in received.sealed[0].batches] == [1, 2, 3], "an alarm must not wait for a disk"
        assert received.sealed[0].counters.failed_commits_total == 1
        commits.put("bus", [(alias, 1_000_000 * number, 1.0, 0) for number in range(3_000, 6_000)])
        assert buffer.discarded_total == 1_000
        await thread.delete(99, RangeSet([(0, 10_000)]))
        await commits.flush()
        assert buffer.waiting_count == 0
        assert [batch.batch for batch in received.sealed[-1].batches] == [4, 5, 6], "each batch is handed on once"
        assert received.sealed[-1].counters.discarded_readings_total == 1_000
        there = [batch for batch in range(1, 7) if await thread.read_batch(100, batch) is not None]
        assert there == [2, 3, 4, 5, 6]
        await thread.close()

    asyncio.run(scenario())
    events = [record.getMessage().split()[0] for record in caplog.records if record.name.startswith("edge_agent")]
    assert events == ["commit_failed", "readings_discarded"]


def test_stopping_in_the_middle_of_a_commit_stores_it_once_and_what_came_after_too(path):
    class Received:
        def put(self, sealed) -> None:
            pass

    async def scenario() -> None:
        channels = ChannelTable()
        alias = channels.add("bus", "node", "level")
        spool = open_spool(path)
        begun = threading.Event()
        insert = spool.commit

        def slow_commit(batches) -> None:
            begun.set()
            time.sleep(0.3)
            insert(batches)

        spool.commit = slow_commit
        thread = SpoolThread(spool, channels)
        commits = CommitLoop(ReadingBuffer(100, 5_000), channels, thread, Received(), 0.02, 200)
        running = asyncio.create_task(commits.run())
        commits.put("bus", [(alias, 1_000_000, 1.0, 0)])
        await asyncio.to_thread(begun.wait, 5)
        commits.put("bus", [(alias, 2_000_000, 2.0, 0)])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await commits.finish()
        await thread.close()

    asyncio.run(scenario())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT value FROM reading ORDER BY phenomenon_ns").fetchall() == [(1.0,), (2.0,)]


def test_a_file_that_is_no_spool_is_left_alone(path):
    path.write_bytes(b"this is my holiday diary " * 100)
    with pytest.raises(SpoolUnusableError):
        open_spool(path)
    assert path.read_bytes().startswith(b"this is my holiday diary")
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE diary (day TEXT)")
    with pytest.raises(SpoolUnusableError, match="no spool"):
        open_spool(path)


def test_a_folder_that_cannot_be_written_is_told_apart_from_a_corrupt_file(tmp_path):
    with pytest.raises(SpoolWriteError):
        open_spool(tmp_path / "absent" / "spool.sqlite")


def test_every_commit_is_synced_to_the_disk_before_it_returns(path):
    with contextlib.closing(open_spool(path)) as spool:
        assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: a power cut loses nothing"
