"""The spool on a real disk: killed with -9, full, corrupt, torn, not ours."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import json
import os
import platform
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.ranges import RangeSet
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolFullError, SpoolUnusableError, SpoolWriteError
from edge_agent.spool.batch_columns import decode_columns
from edge_agent.spool.commit_readings import CommitLoop
from edge_agent.spool.reading_buffer import ReadingBuffer, SealedBatch
from edge_agent.spool.replace_spool import find_set_aside, write_epoch_note
from edge_agent.spool.spool_status import describe_spool
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.spool.store_readings import APPLICATION_ID, Spool, StoredBatch, Tally
from edge_agent.uplink.sparkplug_session import Counters
from simulators.spool_ledger import attach_spool_ledger, read_spool_ledger

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
SECOND_NS = 1_000_000_000
NOBODY = 65_534
WRITER = """
import sys
from pathlib import Path
import asyncio
from edge_agent.channel_table import ChannelTable
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.spool.spool_thread import SpoolThread
channels = ChannelTable()
channels.add("bus", "node", "level")
spool = SpoolThread(Path(sys.argv[1]), 1 << 30, channels)
batch = 0
async def write():
    global batch
    while True:
        batch += 1
        readings = tuple((1, batch * 1000 + row, float(row), 0) for row in range(50))
        await spool.commit([SealedBatch(spool.epoch, batch, "bus", readings)])
        print(spool.epoch, batch, flush=True)
asyncio.run(write())
"""


def channel_table(count: int = 1) -> ChannelTable:
    channels = ChannelTable()
    for number in range(count):
        channels.add("bus", f"node-{number}", "level")
    return channels


def sealed(batch: int, count: int = 10, epoch: int = 100, value: float = 0.5, is_urgent: bool = False) -> SealedBatch:
    """One channel, a reading a second, `count` of them."""
    rows = tuple((1, (batch * count + row) * SECOND_NS, value + row % 7, 0) for row in range(count))
    return SealedBatch(epoch, batch, "bus", rows, is_urgent=is_urgent)


def open_spool(path: Path, disk_max_bytes: int = 64 * MIB) -> Spool:
    return Spool(path, disk_max_bytes)


def keys(batches: list[StoredBatch]) -> list[tuple[int, int]]:
    return [one.key for one in batches]


def everything(spool: Spool) -> list[StoredBatch]:
    return spool.read_batches_after((-1, -1), 1_000_000)


@contextlib.contextmanager
def spool_thread(path: Path, disk_max_bytes: int = 64 * MIB, now_s: float = 1000.0) -> Iterator[SpoolThread]:
    thread = SpoolThread(path, disk_max_bytes, channel_table(), now_s=lambda: now_s)
    try:
        yield thread
    finally:
        asyncio.run(thread.close())


async def settle(thread: SpoolThread) -> None:
    """Lets `care` come to its end."""
    while await thread._call(thread._care):
        pass


class Uplink:
    """Takes what a commit loop hands on."""

    def __init__(self) -> None:
        self.sealed = []

    def put(self, sealed) -> None:
        self.sealed.append(sealed)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.sqlite"


# What is committed ----------------------------------------------------------------------------------------------------


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
        rows = connection.execute("SELECT epoch, batch, reading_count, body FROM batch").fetchall()
    identities = {row[:2] for row in rows}
    assert len(rows) == len(identities)
    assert reported <= identities, "a commit that returned is on disk"
    assert len(identities - reported) <= 8, "at most the commit that was under way at each kill"
    for epoch, batch, count, body in rows:
        assert count == 50
        columns = decode_columns(epoch, batch, body)
        assert list(columns.times_ns) == [batch * 1000 + row for row in range(50)], "batches are whole"


def test_an_independent_witness_reads_every_committed_row_with_its_batch_and_values(path):
    channels = channel_table(3)
    with contextlib.closing(open_spool(path)) as spool:
        attach_spool_ledger(path)
        rows = ((1, 5, 1.25, 0), (2, 5, None, 64), (3, 2**33 + 5, -0.1, 1))
        spool.commit([SealedBatch(100, 1, "bus", rows), sealed(2, 2)], channels)
        assert spool.delete(100, RangeSet([(1, 2)])) == 2
        spool.commit([sealed(3, 1)], channels)
    ledger = read_spool_ledger(path)
    assert [tuple(row) for row in ledger[:3]] == [
        (100, 1, "bus", "node-0", "level", 5, 1.25, 0),
        (100, 1, "bus", "node-1", "level", 5, None, 64),
        (100, 1, "bus", "node-2", "level", 2**33 + 5, -0.1, 1),
    ]
    assert [(row.batch, row.value) for row in ledger[3:]] == [(2, 0.5), (2, 1.5), (3, 0.5)]


def test_only_acknowledged_batches_are_deleted_and_the_others_read_back_as_they_were(path):
    channels = channel_table(2)
    readings = ((1, 5, 1.25, 0), (2, 5, None, 64))
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([SealedBatch(100, batch, "bus", readings) for batch in range(1, 6)], channels)
        spool.commit([SealedBatch(101, 2, "bus", readings)], channels)
        assert spool.delete(100, RangeSet([(2, 3), (5, 900)])) == 3
        left = everything(spool)
        assert keys(left) == [(100, 1), (100, 4), (101, 2)]
        named = [("node-0", "level", 5, 1.25, 0), ("node-1", "level", 5, None, 64)]
        assert all(one.readings == named for one in left)
        assert keys(spool.read_batches_after((100, 1), 1)) == [(100, 4)]
        assert spool.read_batch(100, 2) is None
        assert list(spool.existing(100, 0, 2**64, 10)) == [(1, 1), (4, 4)]


def test_a_batch_that_is_committed_twice_is_there_once(path):
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([sealed(1)], channel_table())
        spool.commit([sealed(1), sealed(2)], channel_table())
        assert keys(everything(spool)) == [(100, 1), (100, 2)]


def test_a_large_acknowledgement_is_deleted_in_steps_and_completely(path):
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([sealed(batch) for batch in range(1, 2501)], channel_table())
        assert spool.delete(100, RangeSet([(1, 2499)])) == 2499
        assert keys(everything(spool)) == [(100, 2500)]


def test_urgent_batches_are_read_from_the_newest_back(path):
    with contextlib.closing(open_spool(path)) as spool:
        spool.commit([sealed(batch, is_urgent=batch % 3 == 0) for batch in range(1, 11)], channel_table())
        assert keys(spool.read_urgent_before((2**63 - 1, 0), 2)) == [(100, 9), (100, 6)]
        assert keys(spool.read_urgent_before((100, 6), 2)) == [(100, 3)]
        assert all(one.is_urgent for one in spool.read_urgent_before((200, 0), 9))


def test_every_commit_is_synced_to_the_disk_before_it_returns(path):
    with contextlib.closing(open_spool(path)) as spool:
        assert spool._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert spool._connection.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: a power cut loses nothing"


def test_72_hours_at_the_nominal_rate_fit_into_the_default_share_without_thinning(path):
    """300 readings/s, measured as 100 devices with 3 channels each, in batches of 200."""
    channels = channel_table(300)
    chance = random.Random(3)
    count = 0
    with contextlib.closing(open_spool(path)) as spool:
        for batch in range(1, 301):
            rows = [
                (1 + at % 300, (at // 3) * 10_000_000 + (at // 300) * SECOND_NS, chance.gauss(20.0, 1.0), 0)
                for at in range(batch * 200, batch * 200 + 200)
            ]
            spool.commit([SealedBatch(100, batch, "bus", tuple(rows))], channels)
            count += len(rows)
        bytes_per_reading = spool.used_bytes() / count
    needed = bytes_per_reading * 300 * 72 * 3600
    assert bytes_per_reading < 15.0
    assert needed < 0.9 * ((3 << 29) - 4 * MIB), f"{needed / 1e9:.2f} GB"


# Identity -------------------------------------------------------------------------------------------------------------


def test_epochs_grow_with_each_start_and_bd_seq_wraps_after_255(path):
    with spool_thread(path, now_s=100.0) as thread:
        assert thread.epoch == 100
        assert [asyncio.run(thread.begin_connection()) for _ in range(257)] == [*range(256), 0]
    with spool_thread(path, now_s=100.0) as thread:
        assert thread.epoch == 101
        assert asyncio.run(thread.begin_connection()) == 1
    with spool_thread(path, now_s=5.0) as thread:
        assert thread.epoch == 102, "a clock that went back changes nothing"


@pytest.mark.parametrize("gone", [["spool.sqlite", "spool.sqlite-wal"], ["spool.sqlite.epoch"]])
def test_an_epoch_is_never_used_again_even_if_the_clock_and_either_file_are_lost(path, gone):
    with spool_thread(path, now_s=5000.0) as thread:
        assert thread.epoch == 5000
    for name in gone:
        with contextlib.suppress(FileNotFoundError):
            (path.parent / name).unlink()
    with spool_thread(path, now_s=0.0) as thread:
        assert thread.epoch == 5001


# Full -----------------------------------------------------------------------------------------------------------------


def fill(spool: Spool) -> None:
    for batch in itertools.count(1):
        spool.commit([sealed(batch, 500)], channel_table())


def test_a_full_disk_refuses_a_whole_commit_and_takes_it_when_there_is_room_again(path):
    with contextlib.closing(open_spool(path, MIB)) as spool:
        with pytest.raises(SpoolFullError, match="full"):
            fill(spool)
        batch = spool.batch_count()
        assert batch >= 50
        assert spool.read_batch(100, batch + 1) is None, "nothing of the refused commit is there"
        spool.delete(100, RangeSet([(1, 2)]))
        spool.commit([sealed(batch + 1, 500)], channel_table())
        assert spool.read_batch(100, batch + 1) is not None


def test_a_spool_that_runs_full_thins_its_oldest_data_and_then_drops_them_and_counts_all_of_it(path):
    async def scenario() -> None:
        for batch in range(1, 1501):
            await thread.commit([sealed(batch, 100, is_urgent=False)])
            await settle(thread)
        batches = await thread.read_batches_after((-1, -1), 10_000)
        lost = await thread.lost()
        there = sum(len(one.readings) for one in batches)
        tally = thread.tally
        assert there + tally.thinned_readings_total + tally.dropped_readings_total == 150_000
        assert sum(one.thinned_count for one in batches) <= tally.thinned_readings_total
        assert tally.thinned_readings_total > 30_000
        assert tally.dropped_readings_total < 0.1 * tally.thinned_readings_total, "thinning makes the room"
        assert batches[-1].thinned_count == 0, "the newest are whole"
        known = {one.batch for one in batches}
        known |= {batch for _, ranges in lost for first, last in ranges for batch in range(first, last + 1)}
        assert known == set(range(1, 1501)), "a batch is there, or it is listed as lost: there is no silent gap"

    with spool_thread(path, MIB) as thread:
        asyncio.run(scenario())
    with spool_thread(path, MIB) as again:
        assert again.tally == thread.tally, "a restart forgets no count"


def test_a_full_disk_is_reported_and_costs_no_reading_that_still_fits_into_memory(path, caplog):
    """CommitLoop on a spool that is full: handed to the uplink all the same, kept, and committed when there is room."""

    async def scenario() -> None:
        channels = channel_table()
        thread = SpoolThread(path, MIB, channels, now_s=lambda: 100.0)
        with contextlib.suppress(SpoolFullError):
            await thread._call(lambda: fill(thread._spool))
        full = await thread._call(thread._spool.batch_count)
        buffer = ReadingBuffer(100, 5_000)
        received = Uplink()
        commits = CommitLoop(buffer, channels, thread, received, 1.0, 200)
        thread.epoch = 101
        commits.put("bus", [(1, 1_000_000 * number, 1.0, 0) for number in range(3_000)])
        await commits.flush()
        assert commits.failed_commits_total == 1
        assert [batch.batch for batch in received.sealed[0].batches] == [1, 2, 3], "an alarm must not wait for a disk"
        assert received.sealed[0].counters == Counters(0, 1)
        commits.put("bus", [(1, 1_000_000 * number, 1.0, 0) for number in range(3_000, 6_000)])
        assert buffer.discarded_total == 1_000
        await thread.delete(100, RangeSet([(0, full)]))
        await commits.flush()
        assert buffer.waiting_count == 0
        assert [batch.batch for batch in received.sealed[-1].batches] == [4, 5, 6], "each batch is handed on once"
        assert received.sealed[-1].late == [(101, 2), (101, 3)], "the walk through the spool must not miss them"
        assert received.sealed[-1].counters == Counters(1_000, 1)
        there = [batch for batch in range(1, 7) if await thread.read_batch(101, batch) is not None]
        assert there == [2, 3, 4, 5, 6]
        await thread.close()

    asyncio.run(scenario())
    events = [record.getMessage().split()[0] for record in caplog.records if record.name.startswith("edge_agent")]
    assert events == ["commit_failed", "readings_discarded"]


ON_A_SMALL_DISK = """
import asyncio, json, sys
from pathlib import Path
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolWriteError
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.spool.store_readings import Spool
folder = Path(sys.argv[1])
channels = ChannelTable()
channels.add("bus", "node", "level")
async def run():
    spool = SpoolThread(folder / "spool.sqlite", 1 << 30, channels)
    def batch(number):
        rows = tuple((1, (number * 500 + row) * 10**9, float(row % 7), 0) for row in range(500))
        return SealedBatch(spool.epoch, number, "bus", rows)
    stored, refused = [], 0
    ballast = folder / "somebody-elses-file"
    for number in range(1, 2001):
        if number == 200:
            with ballast.open("wb") as file:
                try:
                    while True:
                        file.write(bytes(65536)); file.flush()
                except OSError:
                    pass
        if number == 500:
            ballast.unlink(missing_ok=True)
        try:
            await spool.commit([batch(number)])
            stored.append(number)
        except SpoolWriteError:
            refused += 1
        for _ in range(20):
            if not await spool._call(spool._care):
                break
    there = {one.batch: one for one in await spool.read_batches_after((-1, -1), 10_000)}
    lost = {n for _, ranges in await spool.lost() for a, b in ranges for n in range(a, b + 1)}
    silent = [number for number in stored if number not in there and number not in lost]
    given_up = spool.tally[0] + spool.tally[1]
    print(json.dumps([len(stored), refused, given_up, silent, spool.set_aside_total, max(stored) == 2000]), flush=True)
    await spool.close()
asyncio.run(run())
"""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting a small disk needs root")
def test_on_a_disk_that_somebody_else_fills_nothing_that_was_committed_vanishes_in_silence(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(disk), sys.executable, ON_A_SMALL_DISK],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    stored, refused, given_up, silent, set_aside, has_newest = json.loads(done.stdout)
    assert silent == []
    assert set_aside == 0, "a full disk is no reason to distrust a file"
    assert has_newest, "it goes on when there is room again"
    assert stored + refused == 2000
    assert given_up > 0
    assert refused < 300, "only while the disk was full"


# Broken ---------------------------------------------------------------------------------------------------------------


def written(path: Path, batches: int = 200) -> None:
    """A spool with batches of 100 readings in it, all in the file itself."""
    with contextlib.closing(open_spool(path)) as spool:
        spool.begin_epoch(7000)
        write_epoch_note(path, 7000)
        spool.commit([sealed(batch, 100, epoch=7000) for batch in range(1, batches + 1)], channel_table())


def flip_bytes(path: Path) -> None:
    octets = bytearray(path.read_bytes())
    for at in range(9, len(octets), 4_099):
        octets[at] ^= 0xFF
    path.write_bytes(octets)


def overwrite_head(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"this is my holiday diary ")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "somebody-put-this-here").touch()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 1)


@pytest.mark.parametrize("spoil", [flip_bytes, overwrite_head, replace_by_folder, truncate])
def test_a_spool_that_cannot_be_trusted_is_set_aside_within_seconds_and_the_agent_goes_on(path, spoil, caplog):
    written(path)
    spoil(path)
    began_s = time.monotonic()

    async def scenario() -> None:
        try:
            await thread.commit([sealed(1, epoch=thread.epoch)])
        except SpoolWriteError:  # found out only now
            await thread.commit([sealed(1, epoch=thread.epoch)])
        took_s = time.monotonic() - began_s
        assert took_s < 10.0
        for _ in range(3):  # what is damaged inside shows when it is read, at the latest
            await settle(thread)
            with contextlib.suppress(SpoolWriteError):
                await thread.read_batches_after((-1, -1), 10_000)
        batches = await thread.read_batches_after((-1, -1), 10_000)
        assert any(one.epoch > 7000 and one.batch == 1 for one in batches)
        whole = [("node-0", "level", (0 * 100 + row) * SECOND_NS, 0.5 + row % 7, 0) for row in range(100)]
        for one in batches:
            if one.epoch == 7000:
                shift_ns = one.batch * 100 * SECOND_NS
                assert one.readings == [(*row[:2], row[2] + shift_ns, *row[3:]) for row in whole], "no invented value"

    with spool_thread(path, now_s=50.0) as thread:
        first_epoch = thread.epoch
        asyncio.run(scenario())
        assert thread.epoch >= first_epoch > 0
        set_aside = thread.set_aside_total
    assert len(find_set_aside(path)) == set_aside >= 1
    assert any("spool_set_aside" in record.getMessage() for record in caplog.records)
    lines, is_good = describe_spool(path, 64 * MIB)
    assert is_good
    assert sum(line.startswith("set aside: ") for line in lines) == set_aside


def test_what_a_torn_file_still_gives_is_salvaged_under_its_own_identity_and_no_epoch_is_used_again(path):
    written(path, 400)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(3 * 8192))

    async def scenario() -> int:
        with contextlib.suppress(SpoolWriteError):
            await thread.read_batches_after((-1, -1), 10_000)
        await settle(thread)
        return len([one for one in await thread.read_batches_after((-1, -1), 10_000) if one.epoch == 7000])

    with spool_thread(path, now_s=50.0) as thread:
        assert asyncio.run(scenario()) >= 300, "most of 400"
        assert thread.epoch > 7000
        assert thread.set_aside_total == 1
    assert [aside.name.endswith("-salvaged") for aside in find_set_aside(path)] == [True]


def test_what_is_on_its_way_already_is_not_read_again_and_a_damaged_batch_does_not_end_the_walk(path):
    written(path, 10)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("UPDATE batch SET body=zeroblob(9) WHERE batch=4")
        other.commit()
    on_their_way = frozenset({(7000, 2), (7000, 9), (7000, 10)})
    with contextlib.closing(open_spool(path)) as spool:
        assert [one.batch for one in spool.read_batches_after((-1, -1), 5, on_their_way)] == [1, 3, 5, 6, 7]
        assert [one.batch for one in spool.read_batches_after((7000, 7), 5, on_their_way)] == [8]
        assert spool.read_batches_after((7000, 8), 5, on_their_way) == []
        assert [one.batch for one in spool.read_batches_after((-1, -1), 4)] == [1, 2, 3, 5]


def test_a_bit_that_flips_in_a_batch_costs_that_batch_only_and_it_is_told_as_lost(path):
    written(path, 10)
    with contextlib.closing(sqlite3.connect(path)) as other:
        (body,) = other.execute("SELECT body FROM batch WHERE batch=4").fetchone()
        flipped = body[:700] + bytes([body[700] ^ 1]) + body[701:]
        other.execute("UPDATE batch SET body=? WHERE batch=4", (flipped,))
        other.commit()
    with contextlib.closing(open_spool(path)) as spool:
        assert [one.batch for one in everything(spool)] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
        assert [(epoch, list(ranges)) for epoch, ranges in spool.lost()] == [(7000, [(4, 4)])]
        assert spool.tally() == Tally(0, dropped_readings_total=100, damaged_batches_total=1)


def test_a_wal_that_was_cut_off_gives_what_was_whole(path):
    spool = open_spool(path)
    for batch in range(1, 21):
        spool.commit([sealed(batch, 100)], channel_table())
    copy = path.parent / "copy.sqlite"
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    spool.close()
    wal = Path(f"{copy}-wal")
    os.truncate(wal, wal.stat().st_size * 2 // 3)
    with spool_thread(copy) as thread:
        batches = asyncio.run(thread.read_batches_after((-1, -1), 100))
        assert [one.batch for one in batches] == list(range(1, len(batches) + 1))
        assert len(batches) >= 5
        assert thread.set_aside_total == 0


def test_no_more_than_three_set_aside_files_are_kept_and_those_not_yet_salvaged_longest(path):
    for number in range(6):
        path.write_bytes(b"rubbish" * 1000)
        with spool_thread(path, now_s=100.0 + number) as thread:
            if number:
                asyncio.run(settle(thread))
    assert len(find_set_aside(path)) == 3


def test_a_database_of_somebody_else_is_left_alone(path):
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE diary (day TEXT)")
    with pytest.raises(SpoolUnusableError, match="no spool"):
        SpoolThread(path, MIB, channel_table())
    assert path.exists()


def test_a_spool_of_an_older_agent_is_taken_over_with_all_its_batches(path):
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript(
            f"""
            CREATE TABLE meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
            CREATE TABLE reading (reading_id INTEGER PRIMARY KEY AUTOINCREMENT, bus_id TEXT NOT NULL,
                node_id TEXT NOT NULL, quantity TEXT NOT NULL, phenomenon_ns INTEGER NOT NULL, value REAL,
                reason INTEGER NOT NULL, batch INTEGER, epoch INTEGER);
            CREATE TABLE batch (epoch INTEGER NOT NULL, batch INTEGER NOT NULL, bus_id TEXT NOT NULL,
                first_reading_id INTEGER NOT NULL, last_reading_id INTEGER NOT NULL,
                PRIMARY KEY (epoch, batch)) WITHOUT ROWID;
            INSERT INTO meta VALUES ('epoch', 9000);
            INSERT INTO reading VALUES (1, 'bus', 'node-0', 'level', 5, 1.5, 0, 3, 9000);
            INSERT INTO reading VALUES (2, 'bus', 'gone', 'level', 5, NULL, 64, 3, 9000);
            INSERT INTO batch VALUES (9000, 3, 'bus', 1, 2);
            PRAGMA application_id={APPLICATION_ID};
            PRAGMA user_version=1;
            """
        )

    async def scenario() -> list[StoredBatch]:
        assert thread.is_salvaging
        await settle(thread)
        assert not thread.is_salvaging
        return await thread.read_batches_after((-1, -1), 10)

    with spool_thread(path, now_s=50.0) as thread:
        assert thread.epoch == 9001
        (taken,) = asyncio.run(scenario())
    assert taken.key == (9000, 3)
    assert taken.readings == [("node-0", "level", 5, 1.5, 0), ("gone", "level", 5, None, 64)]


def test_bd_seq_goes_on_in_a_new_file_and_after_an_agent_that_kept_it_in_the_file(path):
    with spool_thread(path) as thread:
        assert [asyncio.run(thread.begin_connection()) for _ in range(3)] == [0, 1, 2]
    path.write_bytes(b"this is no database any more" * 1000)
    with spool_thread(path) as thread:
        assert thread.set_aside_total == 1
        assert asyncio.run(thread.begin_connection()) == 3
    Path(f"{path}.bdseq").unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO meta (name, number) VALUES ('bd_seq', 41)")
        connection.commit()
    with spool_thread(path) as thread:
        assert asyncio.run(thread.begin_connection()) == 42, "as an agent up to 0.1 has left it"


def test_a_folder_that_does_not_take_files_costs_the_spool_and_not_the_agent(path, caplog):
    path.parent.joinpath("in-the-way").touch()
    with spool_thread(path.parent / "in-the-way" / "spool.sqlite", now_s=100.0) as thread:
        assert thread.epoch == 100
        with pytest.raises(SpoolWriteError, match="in memory only"):
            asyncio.run(thread.commit([sealed(1)]))
        assert asyncio.run(thread.begin_connection()) == 0
    assert any("spool_unavailable" in record.getMessage() for record in caplog.records)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file that is somebody else's")
def test_a_spool_that_belongs_to_somebody_else_is_set_aside_unread(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.sqlite"
        written(path, 3)
        for one in Path(folder).iterdir():
            one.chmod(0o600)
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            with spool_thread(path, now_s=8000.0) as thread:
                asyncio.run(thread.commit([sealed(1, epoch=thread.epoch)]))
                assert (thread.epoch, thread.set_aside_total) == (8000, 1)
        finally:
            os.seteuid(0)
        (aside,) = find_set_aside(path)
        with contextlib.closing(Spool(aside, MIB)) as old:
            assert old.batch_count() == 3, "it is as it was"


def let_fsync_fail() -> None:
    """From now on fsync and fdatasync of this thread fail with EIO: a seccomp filter, as no disk does it on demand."""
    fsync, fdatasync = {"x86_64": (74, 75), "aarch64": (82, 83)}[platform.machine()]

    class Instruction(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction)))

    load, jump_if_equal, give, allow, fail = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050005
    steps = [(load, 0, 0, 0), (jump_if_equal, 2, 0, fsync), (jump_if_equal, 1, 0, fdatasync), (give, 0, 0, allow)]
    steps.append((give, 0, 0, fail))
    instructions = (Instruction * len(steps))(*[Instruction(*step) for step in steps])
    program = Program(len(steps), ctypes.cast(instructions, ctypes.POINTER(Instruction)))
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    assert libc.prctl(set_no_new_privileges, 1, 0, 0, 0) == 0
    if libc.prctl(set_seccomp, mode_filter, ctypes.byref(program), 0, 0) != 0:
        pytest.skip("no seccomp here")


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="system call numbers")
def test_after_a_failed_fsync_the_file_is_not_trusted_and_what_was_in_memory_goes_into_a_new_one(path, caplog):
    async def scenario() -> None:
        channels = channel_table()
        thread = SpoolThread(path, 64 * MIB, channels, now_s=lambda: 100.0)
        received = Uplink()
        buffer = ReadingBuffer(thread.epoch, 5_000)
        commits = CommitLoop(buffer, channels, thread, received, 1.0, 200)
        commits.put("bus", [(1, 1, 1.0, 0)])
        await commits.flush()
        await thread._call(let_fsync_fail)
        commits.put("bus", [(1, 2, 2.0, 0)])
        await commits.flush()
        assert commits.failed_commits_total == 1, "it is not swallowed"
        assert [batch.key for batch in received.sealed[-1].batches] == [(100, 2)], (
            "and the reading is sent all the same"
        )
        with pytest.raises(SpoolWriteError):
            await thread.commit([sealed(99)])
        thread._thread.shutdown()
        thread._thread = type(thread._thread)(max_workers=1)  # a thread without the filter: the disk is well again
        thread._retry_s = 0.0
        for number in range(3, 5):
            commits.put("bus", [(1, number, float(number), 0)])
            await commits.flush()
        await settle(thread)
        assert thread.epoch > 100
        assert received.sealed[-1].epoch == thread.epoch
        stored = await thread.read_batches_after((-1, -1), 100)
        assert [one.readings[0][2:4] for one in stored] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
        assert len({one.key for one in stored}) == 4
        assert stored[1].key == (100, 2), "what was sealed before keeps its identity: the host may have stored it"
        assert received.sealed[-1].counters.spools_set_aside_total == thread.set_aside_total >= 1
        await thread.close()

    asyncio.run(scenario())
    events = {record.getMessage().split()[0] for record in caplog.records if record.name.startswith("edge_agent")}
    assert {"spool_broken", "spool_set_aside", "commit_failed", "spool_salvaged"} <= events


WITH_A_LIMITED_FILE_SIZE = """
import asyncio, json, resource, sys
from pathlib import Path
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import SpoolWriteError
from edge_agent.spool.reading_buffer import SealedBatch
from edge_agent.spool.spool_thread import SpoolThread
path = Path(sys.argv[1])
channels = ChannelTable()
channels.add("bus", "node", "level")
async def run():
    spool = SpoolThread(path, 1 << 30, channels)
    def batch(epoch, number):
        return SealedBatch(epoch, number, "bus", tuple((1, number * 10**9 + row, 1.0, 0) for row in range(200)))
    stored, refused = set(), []
    for number in range(1, 400):
        if number == 100:
            limit = path.with_name(path.name + "-wal").stat().st_size // 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        if number == 300:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            spool._retry_s = 0.0
        key = (spool.epoch, number)
        try:
            await spool.commit([batch(*key)])
            stored.add(key)
        except SpoolWriteError as error:
            refused.append(str(error))
    while await spool._call(spool._care):
        pass
    there = {one.key for one in await spool.read_batches_after((-1, -1), 10_000)}
    print(json.dumps([len(stored), len(refused), refused[:1], sorted(stored - there), spool.set_aside_total]))
    await spool.close()
asyncio.run(run())
"""


def test_a_write_that_fails_in_the_middle_loses_nothing_that_was_committed(path):
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_LIMITED_FILE_SIZE, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    stored, refused, texts, lost, set_aside = json.loads(done.stdout)
    assert refused > 0
    assert "spool.sqlite: disk I/O error" in texts[0]
    assert lost == []
    assert set_aside >= 1
    assert stored + refused == 399


# Stopping -------------------------------------------------------------------------------------------------------------


def test_stopping_in_the_middle_of_a_commit_stores_it_once_and_what_came_after_too(path):
    async def scenario() -> None:
        channels = channel_table()
        thread = SpoolThread(path, 64 * MIB, channels)
        begun = threading.Event()
        insert = thread._spool.commit

        def slow_commit(*arguments) -> None:
            begun.set()
            time.sleep(0.3)
            insert(*arguments)

        thread._spool.commit = slow_commit
        commits = CommitLoop(ReadingBuffer(100, 5_000), channels, thread, Uplink(), 0.02, 200)
        running = asyncio.create_task(commits.run())
        commits.put("bus", [(1, 1_000_000, 1.0, 0)])
        await asyncio.to_thread(begun.wait, 5)
        commits.put("bus", [(1, 2_000_000, 2.0, 0)])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await commits.finish()
        await thread.close()

    asyncio.run(scenario())
    with contextlib.closing(open_spool(path)) as spool:
        assert [one.readings[0][3] for one in everything(spool)] == [1.0, 2.0]
