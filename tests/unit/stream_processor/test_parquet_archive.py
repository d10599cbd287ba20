"""The archive on a real disk: each row once in closed files, wherever a crash hits, whatever comes twice."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.alarm import ConditionInput
from contracts.errors import RecordError
from contracts.record_message import encode_scored
from contracts.score import OTHER_SCORES
from stream_processor.distributed import parquet_archive
from stream_processor.distributed.archive_plan import (
    HEAD_BYTES,
    JournalHead,
    Progress,
    Verdict,
    decode_head,
    encode_frame,
    encode_head,
    judge,
    parse_frames,
    read_frame,
    summarise,
)
from stream_processor.distributed.parquet_archive import ParquetArchive
from stream_processor.fleet_index import FleetIndex
from tests.scored_messages import METHANE, OXYGEN, SECOND_NS, STRAIN, good, scored_message, small_fleet

T = 1_761_955_200 * SECOND_NS
NOW_NS = T + 100 * SECOND_NS
CONTEXTS = FleetIndex(small_fleet()).contexts
FOR_EVER = 1_000_000


def frames(first: int, last: int):
    """Messages of three rows in two domains; the value of a row tells its message."""
    return [frame(offset) for offset in range(first, last + 1)]


def frame(offset: int, made_ns: int | None = None):
    at_ns = T + offset * SECOND_NS
    rows = [good(channel, at_ns, offset + channel / 100) for channel in (METHANE, OXYGEN, STRAIN)]
    return read_frame(encode_scored(scored_message(offset, *rows, made_ns=made_ns)))


def expected(*offsets: int) -> list[float]:
    return sorted(offset + channel / 100 for offset in offsets for channel in (METHANE, OXYGEN, STRAIN))


def values_in(folder: Path) -> list[float]:
    """What the one line of SQL of the guide sees."""
    if not any(folder.rglob("*.parquet")):
        return []
    sql = f"SELECT value FROM read_parquet('{folder}/parquet/**/*.parquet', hive_partitioning = true) ORDER BY value"
    return [value for (value,) in duckdb.sql(sql).fetchall()]


def archive_of(folder: Path, rows_per_file: int = FOR_EVER) -> ParquetArchive:
    return ParquetArchive(folder, rows_per_file, CONTEXTS)


def close_all(archive: ParquetArchive) -> None:
    while archive.close_older(NOW_NS + 10, NOW_NS + 1):
        pass


# --- what is decided -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("progress", "source_offset", "made_ns", "verdict"),
    [
        (Progress(), 0, 5, Verdict.NEXT),
        (Progress(), 4_711, 5, Verdict.NEXT),
        (Progress(7, 50), 8, 40, Verdict.NEXT),
        (Progress(7, 50), 7, 50, Verdict.TAKEN_BEFORE),
        (Progress(7, 50), 0, 3, Verdict.TAKEN_BEFORE),
        (Progress(7, 50), 9, 60, Verdict.AFTER_GAP),
        (Progress(7, 50), 0, 51, Verdict.OF_NEW_TOPIC),
    ],
)
def test_a_message_is_judged_by_its_offset_and_the_bridges_clock(progress, source_offset, made_ns, verdict):
    assert judge(progress, source_offset, made_ns) is verdict


def test_a_journal_ends_where_it_was_cut_off_at_any_byte():
    head = encode_head(JournalHead(3, Progress(9, 8), 7))
    some = frames(10, 12)
    journal = head + b"".join(encode_frame(each) for each in some)
    ends = [len(head)]
    for each in some:
        ends.append(ends[-1] + len(encode_frame(each)))
    for cut in range(HEAD_BYTES, len(journal) + 1):
        whole = sum(end <= cut for end in ends) - 1
        assert list(parse_frames(journal[:cut])) == some[:whole]
    summary = summarise(journal)
    assert (summary.rows, summary.size_bytes, summary.progress) == (9, len(journal), Progress(12, some[-1].made_ns))
    assert summary.head == JournalHead(3, Progress(9, 8), 7)


def test_a_journal_ends_at_a_corrupt_frame_and_is_none_with_a_corrupt_head():
    some = frames(10, 12)
    journal = bytearray(encode_head(JournalHead(0, Progress(), 7)) + b"".join(encode_frame(each) for each in some))
    journal[HEAD_BYTES + len(encode_frame(some[0])) + 100] ^= 1
    assert list(parse_frames(bytes(journal))) == some[:1]
    for position in range(HEAD_BYTES):
        broken = bytearray(journal)
        broken[position] ^= 1
        with pytest.raises(RecordError):
            decode_head(bytes(broken))


def test_a_message_without_rows_leaves_only_its_number():
    empty = read_frame(encode_scored(scored_message(5, made_ns=T)))
    assert (empty.source_offset, empty.rows, empty.value) == (5, 0, b"")


# --- what stands on the disk -----------------------------------------------------------------------------------------


def test_a_full_journal_becomes_files_by_date_and_domain_that_never_change(tmp_path):
    archive = archive_of(tmp_path, rows_per_file=6)
    archive.append(3, frames(0, 0), NOW_NS)
    assert values_in(tmp_path) == []
    archive.append(3, frames(1, 1), NOW_NS)
    assert values_in(tmp_path) == expected(0, 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    names = sorted(path.relative_to(tmp_path / "parquet").as_posix() for path in before)
    stamp = "part-20251101T000000Z-0003-000000000000-000000000001.parquet"
    assert names == [f"date=2025-11-01/domain=bridge/{stamp}", f"date=2025-11-01/domain=gas/{stamp}"]
    archive.append(3, frames(2, 4), NOW_NS)
    assert values_in(tmp_path) == expected(0, 1, 2, 3, 4)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sorted(path.name for path in (tmp_path / "journal").iterdir() if path.suffix != ".drafts") == [
        "partition-0003.lock",
        "partition-0003.open",
    ]


def test_a_file_is_zstd_and_says_where_rows_are(tmp_path):
    archive = archive_of(tmp_path, rows_per_file=6)
    archive.append(0, frames(0, 1), NOW_NS)
    group = pq.ParquetFile(next(tmp_path.rglob("domain=gas/*.parquet"))).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    assert all(column.is_stats_set for column in columns)


def with_scores(offset: int) -> bytes:
    """A message as `frame` makes one, whose rows have a score of novelty."""
    rows = [good(channel, T + offset * SECOND_NS, offset + channel / 100) for channel in (METHANE, OXYGEN, STRAIN)]
    scores = {ConditionInput.SCORE_NOVELTY: np.array([0.125, np.nan, 0.875])}
    return encode_scored(replace(scored_message(offset, *rows), other_scores=scores))


def as_of_before(value: bytes) -> bytes:
    """A scored message without other scores as it was written when there were none: its head does not speak of them."""
    (length,) = struct.unpack_from("<I", value, len(value) - 4)
    head = value[len(value) - 4 - length : -4]
    older = head.replace(b', "scores": []', b"").replace(b',"scores":[]', b"")
    assert len(older) < len(head)
    return value[: len(value) - 4 - length] + older + struct.pack("<I", len(older))


def test_a_journal_that_an_older_program_began_is_gone_on_with_and_closed(tmp_path):
    rows = [good(channel, T, channel / 100) for channel in (METHANE, OXYGEN, STRAIN)]
    archive_of(tmp_path).append(0, [read_frame(as_of_before(encode_scored(scored_message(0, *rows))))], NOW_NS)
    archive = archive_of(tmp_path)
    archive.append(0, [read_frame(with_scores(1))], NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == expected(0, 1)
    sql = f"SELECT value, score_novelty FROM '{tmp_path}/parquet/**/*.parquet' WHERE score_novelty IS NOT NULL"
    assert sorted(duckdb.sql(sql).fetchall()) == [(1 + METHANE / 100, 0.125), (1 + STRAIN / 100, 0.875)]


def test_files_of_before_the_other_scores_are_read_beside_new_ones_by_one_line_of_sql(tmp_path):
    archive = archive_of(tmp_path)
    archive.append(0, frames(0, 0), NOW_NS)
    close_all(archive)
    for path in tmp_path.rglob("*.parquet"):
        table = pq.read_table(path, partitioning=None)
        pq.write_table(table.drop_columns(list(OTHER_SCORES)), path, compression="zstd", store_schema=False)
    archive.append(0, [read_frame(with_scores(1))], NOW_NS + 1)
    close_all(archive)
    assert values_in(tmp_path) == expected(0, 1), "without union_by_name: columns that both have"
    source = f"read_parquet('{tmp_path}/parquet/**/*.parquet', hive_partitioning = true, union_by_name = true)"
    answer = duckdb.sql(f"SELECT value, score_novelty FROM {source} ORDER BY value").fetchall()
    assert [value for value, _ in answer] == expected(0, 1)
    assert [score for _, score in answer if score is not None] == [0.125, 0.875]


def test_an_old_journal_is_closed_and_a_young_or_empty_one_is_not(tmp_path):
    archive = archive_of(tmp_path)
    archive.append(0, frames(0, 1), NOW_NS)
    archive.append(1, [read_frame(encode_scored(scored_message(5, made_ns=T)))], NOW_NS)
    assert not archive.close_older(NOW_NS, NOW_NS + 5)
    assert archive.close_older(NOW_NS + 1, NOW_NS + 5)
    assert values_in(tmp_path) == expected(0, 1)
    assert not archive.close_older(NOW_NS + 5, NOW_NS + 5)


def test_what_comes_twice_is_taken_once_also_after_a_restart_and_after_closing(tmp_path):
    archive_of(tmp_path).append(0, frames(0, 3), NOW_NS)
    archive = archive_of(tmp_path)
    archive.append(0, frames(2, 5), NOW_NS)
    close_all(archive)
    archive.append(0, frames(0, 6), NOW_NS)
    archive = archive_of(tmp_path)
    archive.append(0, frames(4, 7), NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == expected(*range(8))


def test_partitions_have_offsets_of_their_own(tmp_path):
    archive = archive_of(tmp_path)
    archive.append(0, frames(0, 1), NOW_NS)
    archive.append(1, frames(0, 2), NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == sorted(expected(0, 1) + expected(0, 1, 2))


def test_a_gap_is_told_and_the_rest_is_taken(tmp_path, caplog):
    archive = archive_of(tmp_path)
    archive.append(0, [*frames(0, 1), *frames(5, 6)], NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == expected(0, 1, 5, 6)
    (entry,) = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert entry.getMessage() == "archive_gap partition=0 first_lost=2 last_lost=4"


def test_a_topic_that_was_made_anew_is_archived_too(tmp_path):
    archive = archive_of(tmp_path)
    archive.append(0, frames(0, 2), NOW_NS)
    later = [frame(offset, made_ns=T + 1_000 * SECOND_NS + offset) for offset in range(2)]
    archive.append(0, later, NOW_NS)
    archive.append(0, later, NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == sorted(expected(0, 1, 2) + expected(0, 1))


def test_a_torn_tail_is_cut_off_and_what_stood_there_comes_again(tmp_path):
    archive_of(tmp_path).append(0, frames(0, 2), NOW_NS)
    journal = tmp_path / "journal/partition-0000.open"
    os.truncate(journal, journal.stat().st_size - 5)
    archive = archive_of(tmp_path)
    archive.append(0, frames(2, 3), NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == expected(0, 1, 2, 3)


def test_two_workers_that_take_turns_at_a_partition_lose_nothing_and_double_nothing(tmp_path):
    first, second = archive_of(tmp_path, 12), archive_of(tmp_path, 12)
    first.append(0, frames(0, 2), NOW_NS)
    second.append(0, frames(1, 5), NOW_NS)
    first.append(0, frames(3, 6), NOW_NS)
    second.append(0, frames(5, 9), NOW_NS)
    close_all(first)
    close_all(second)
    assert values_in(tmp_path) == expected(*range(10))


def test_a_partition_that_another_worker_is_at_is_not_touched(tmp_path):
    first, second = archive_of(tmp_path), archive_of(tmp_path)
    with first._locked(0), pytest.raises(BlockingIOError):
        second.append(0, frames(0, 1), NOW_NS)
    second.append(0, frames(0, 1), NOW_NS)


# --- crashes ---------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """kill -9, as the process sees it: nothing after it happens."""


def crash_at(monkeypatch, step: int) -> None:
    """At the given one of all that changes the disk."""
    reached = 0

    def may_crash(do):
        def counted(*arguments):
            nonlocal reached
            reached += 1
            if reached == step:
                raise Crash
            return do(*arguments)

        return counted

    for name in ("_rename", "_remove", "write_parquet", "sync", "_make_folder"):
        monkeypatch.setattr(parquet_archive, name, may_crash(getattr(parquet_archive, name)))


def crash_everywhere(monkeypatch, root: Path, work: Callable[[Path], None]) -> Iterator[Path]:
    """Folders in which `work` crashed at its first step, at its second, and so on; in the last it came to its end."""
    for step in count(1):
        folder = root / f"step-{step}"
        with monkeypatch.context() as patch:
            crash_at(patch, step)
            try:
                work(folder)
            except Crash:
                yield folder
                continue
        yield folder
        assert step > 20, "closing has more steps than that"
        return


def take_and_close(folder: Path) -> None:
    archive_of(folder, 9).append(0, frames(0, 3), NOW_NS)


def test_a_crash_at_any_step_loses_no_row_and_doubles_none(tmp_path, monkeypatch):
    for folder in crash_everywhere(monkeypatch, tmp_path, take_and_close):
        archive = archive_of(folder, 9)
        archive.finish_begun()
        assert values_in(folder) in ([], expected(0, 1, 2, 3)), f"{folder}: all files of a journal or none"
        archive.append(0, frames(0, 5), NOW_NS)
        close_all(archive)
        assert values_in(folder) == expected(*range(6)), folder


def test_a_second_crash_while_the_first_is_mended_changes_nothing(tmp_path, monkeypatch):
    for number, folder in enumerate(crash_everywhere(monkeypatch, tmp_path, take_and_close)):
        with monkeypatch.context() as patch, contextlib.suppress(Crash):
            crash_at(patch, 1 + number % 7)
            archive_of(folder, 9).finish_begun()
            archive_of(folder, 9).append(0, frames(0, 4), NOW_NS)
        archive = archive_of(folder, 9)
        archive.append(0, frames(0, 5), NOW_NS)
        close_all(archive)
        assert values_in(folder) == expected(*range(6)), folder


def test_a_channel_that_the_registry_learns_between_two_tries_is_not_doubled(tmp_path, monkeypatch):
    """The drafts of the first try stand in folder `unknown`; the second try knows the domain."""

    def without_fleet(folder):
        ParquetArchive(folder, 9, {}).append(0, frames(0, 3), NOW_NS)

    for folder in crash_everywhere(monkeypatch, tmp_path, without_fleet):
        archive = archive_of(folder, 9)
        archive.append(0, frames(0, 3), NOW_NS)
        close_all(archive)
        assert values_in(folder) == expected(*range(4)), folder


def test_a_disk_that_fails_is_told_and_the_same_call_may_be_made_again(tmp_path, monkeypatch):
    archive = archive_of(tmp_path, 9)
    archive.append(0, frames(0, 0), NOW_NS)
    for name in ("sync", "write_parquet", "_rename"):
        with monkeypatch.context() as patch:

            def full(*arguments):
                raise OSError(28, "No space left on device")

            patch.setattr(parquet_archive, name, full)
            with pytest.raises(OSError, match="No space"):
                archive.append(0, frames(0, 3), NOW_NS)
    archive.append(0, frames(0, 3), NOW_NS)
    close_all(archive)
    assert values_in(tmp_path) == expected(*range(4))
