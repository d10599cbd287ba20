"""The archive's waveforms (shell): a journal for each partition in SQLite, and closed Parquet files.

    DIRECTORY/journal/waveforms-0007.sqlite     blocks that are in no closed file yet, and which batches were taken
    DIRECTORY/waveforms/date=YYYY-MM-DD/domain=NAME/part-<partition>-<first row>-<last row>.parquet

`append` returns when the messages are on the disk (WAL, synchronous=FULL). A batch that comes again (its agent sent it
twice, Kafka gave it twice) is known by its identity for as long as agents and Kafka keep anything, and is passed over.

Closing first notes up to which row, then writes the files, then deletes the rows in the transaction that ends the
closing. After a crash in between, files of these rows are taken away and written again. Another worker on the same
partition waits for the lock of the journal, and finds nothing left to do.

Methods block, and raise OSError (disk full; the journal is another worker's for now): then the same call is made again.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from contracts.errors import RecordError
from contracts.waveform_message import decode_waveforms
from stream_processor.fleet_index import ChannelContext
from stream_processor.parquet_file import sync, write_parquet
from stream_processor.store_columns import StoredWaveform
from stream_processor.waveform_columns import WAVEFORMS_FOLDER, build_waveform_parts

_log = logging.getLogger("stream_processor.waveform_archive")

KNOWN_FOR_NS: Final = 8 * 86_400 * 1_000_000_000
"""Identities of batches are kept for so long: Kafka keeps messages for 7 days, and an agent's spool 4."""
_BUSY_S: Final = 5.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS block (row INTEGER PRIMARY KEY AUTOINCREMENT, taken_ns INTEGER NOT NULL,
    samples INTEGER NOT NULL, message BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen (gateway_id TEXT NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL,
    taken_ns INTEGER NOT NULL, PRIMARY KEY (gateway_id, epoch, batch)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS closing (last_row INTEGER NOT NULL);
"""


class WaveformArchive:
    """All partitions of one archive directory."""

    def __init__(self, directory: Path, samples_per_file: int, contexts: Mapping[int, ChannelContext]) -> None:
        """Makes the folders.

        Args:
            directory: one for all workers, on one file system.
            samples_per_file: a journal of so many is closed.
            contexts: what each channel belongs to; replaced by the caller when the fleet changes.
        """
        self._journals = directory / "journal"
        self._files = directory / WAVEFORMS_FOLDER
        self._samples_per_file = samples_per_file
        self.contexts = contexts
        self.unreadable_total = 0
        for folder in (self._journals, self._files):
            folder.mkdir(parents=True, exist_ok=True)
            sync(folder.parent)

    def append(self, partition: int, messages: Sequence[tuple[int, bytes]], now_ns: int) -> None:
        """Makes messages (offset, value) durable, each batch once, and closes the journal if it is full."""
        with self._journal(partition) as journal:
            with _transaction(journal):
                for offset, value in messages:
                    self._take(journal, partition, offset, value, now_ns)
            (samples,) = journal.execute("SELECT coalesce(sum(samples), 0) FROM block").fetchone()
            if samples >= self._samples_per_file:
                self._close(journal, partition, now_ns)

    def close_older(self, opened_before_ns: int, now_ns: int) -> bool:
        """Closes one journal that holds blocks from before a time. Whether there was one."""
        for path in sorted(self._journals.glob("waveforms-*.sqlite")):
            partition = int(path.stem.removeprefix("waveforms-"))
            with self._journal(partition) as journal:
                (oldest_ns,) = journal.execute("SELECT min(taken_ns) FROM block").fetchone()
                if oldest_ns is not None and oldest_ns < opened_before_ns:
                    self._close(journal, partition, now_ns)
                    return True
        return False

    def finish_begun(self) -> None:
        """After a crash: finishes what was being closed."""
        for path in sorted(self._journals.glob("waveforms-*.sqlite")):
            partition = int(path.stem.removeprefix("waveforms-"))
            with self._journal(partition) as journal:
                self._finish(journal, partition, 0)

    def _take(self, journal: sqlite3.Connection, partition: int, offset: int, value: bytes, now_ns: int) -> None:
        try:
            message = decode_waveforms(value)
        except RecordError as error:
            self.unreadable_total += 1
            _log.error("waveforms_unreadable partition=%d offset=%d error=%s", partition, offset, error)
            return
        if message.identity is not None:
            cursor = journal.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?, ?)", (*message.identity, now_ns))
            if not cursor.rowcount:
                return
        samples = sum(len(each.samples) for each in message.waveforms)
        journal.execute("INSERT INTO block (taken_ns, samples, message) VALUES (?, ?, ?)", (now_ns, samples, value))

    def _close(self, journal: sqlite3.Connection, partition: int, now_ns: int) -> None:
        self._finish(journal, partition, now_ns)
        with _transaction(journal):
            journal.execute("INSERT INTO closing SELECT max(row) FROM block HAVING count(*) > 0")
        self._finish(journal, partition, now_ns)

    def _finish(self, journal: sqlite3.Connection, partition: int, now_ns: int) -> None:
        """Brings a closing that was begun to its end; nothing, if none was or another worker did."""
        with _transaction(journal):
            for (last_row,) in journal.execute("SELECT last_row FROM closing").fetchall():
                rows = journal.execute("SELECT row, message FROM block WHERE row <= ? ORDER BY row", (last_row,))
                self._write(partition, rows.fetchall())
                journal.execute("DELETE FROM block WHERE row <= ?", (last_row,))
            journal.execute("DELETE FROM closing")
            journal.execute("DELETE FROM seen WHERE taken_ns < ?", (now_ns - KNOWN_FOR_NS,))

    def _write(self, partition: int, rows: Sequence[tuple[int, bytes]]) -> None:
        if not rows:
            return
        name = f"part-{partition:04d}-{rows[0][0]:012d}-{rows[-1][0]:012d}.parquet"
        for begun in self._files.rglob(name):
            begun.unlink()
        files = 0
        for part in build_waveform_parts(list(_blocks_of(rows)), self.contexts):
            folder = self._files / part.folder
            folder.mkdir(parents=True, exist_ok=True)
            draft = (folder / name).with_suffix(".draft")
            write_parquet(draft, part.table)
            draft.rename(folder / name)
            for changed in (folder, folder.parent, self._files):
                sync(changed)
            files += 1
        _log.info("waveforms_closed partition=%d batches=%d files=%d", partition, len(rows), files)

    @contextlib.contextmanager
    def _journal(self, partition: int) -> Iterator[sqlite3.Connection]:
        path = self._journals / f"waveforms-{partition:04d}.sqlite"
        try:
            with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=_BUSY_S)) as journal:
                journal.execute("PRAGMA journal_mode=WAL")
                journal.execute("PRAGMA synchronous=FULL")
                journal.executescript(_SCHEMA)
                yield journal
        except sqlite3.Error as error:
            raise OSError(f"{path}: {error}") from error


@contextlib.contextmanager
def _transaction(journal: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; one worker at a time."""
    journal.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        journal.execute("ROLLBACK")
        raise
    journal.execute("COMMIT")


def _blocks_of(rows: Sequence[tuple[int, bytes]]) -> Iterator[StoredWaveform]:
    for _, value in rows:
        message = decode_waveforms(value)
        yield from ((waveform, message.identity) for waveform in message.waveforms)
