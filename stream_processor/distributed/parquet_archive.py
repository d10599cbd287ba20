"""The archive's files (shell): a journal for each partition, and closed Parquet files by date and domain.

    DIRECTORY/journal/partition-0007.open       taken, in no closed file yet; synced at each `append`
    DIRECTORY/journal/partition-0007.closing    the same, while its files are written
    DIRECTORY/journal/partition-0007.drafts/    these files, before they are valid
    DIRECTORY/journal/partition-0007.manifest   names of these files: from here on they are valid
    DIRECTORY/journal/partition-0007.lock       held while one process works on the partition
    DIRECTORY/parquet/date=YYYY-MM-DD/domain=NAME/part-<first made>-<partition>-<first>-<last source offset>.parquet
    DIRECTORY/completeness/date=YYYY-MM-DD/part-….parquet               completeness of gateways by the hour

Closing is the rename of the journal, the drafts, the manifest, the renames of the drafts, the end of the journal, the
end of the manifest, each synced before the next. Whoever works on a partition next finishes what was begun: without a
manifest the drafts are written anew, with it the renames are completed. So each row stands in closed files once,
wherever a crash hits; only while the files of one journal get their names may a reader see some of them without others.

All workers of one archive need one DIRECTORY on one file system with working locks. Methods block, and raise OSError
(disk full; BlockingIOError: another worker has the partition): then the same call is made again later.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from contracts.record_message import decode_scored
from stream_processor.archive_columns import READINGS_FOLDER, build_parts, rows_of_messages
from stream_processor.distributed.archive_completeness import build_completeness_parts
from stream_processor.distributed.archive_plan import (
    Frame,
    JournalHead,
    JournalSummary,
    Progress,
    Verdict,
    decode_manifest,
    encode_frame,
    encode_head,
    encode_manifest,
    extended,
    judge,
    parse_frames,
    plan_files,
    summarise,
)
from stream_processor.fleet_index import ChannelContext
from stream_processor.parquet_file import sync, write_parquet

_log = logging.getLogger("stream_processor.archive")

_OPEN: Final = ".open"
_CLOSING: Final = ".closing"
_MANIFEST: Final = ".manifest"
_DRAFTS: Final = ".drafts"
_DRAFT: Final = ".draft"


class ParquetArchive:
    """All partitions of one archive directory. Several processes may work on it; one at a time on a partition."""

    def __init__(self, directory: Path, rows_per_file: int, contexts: Mapping[int, ChannelContext]) -> None:
        self._journals = directory / "journal"
        self._directory = directory
        self._rows_per_file = rows_per_file
        self._known: dict[int, tuple[tuple[int, int, int], JournalSummary]] = {}
        self.contexts = contexts
        """What each channel belongs to; replaced by the caller when the fleet changes."""
        for folder in (self._journals, directory / READINGS_FOLDER):
            folder.mkdir(parents=True, exist_ok=True)
            sync(folder.parent)

    def append(self, partition: int, frames: Sequence[Frame], now_ns: int) -> None:
        """Makes messages durable, and closes the journal whenever it is full. Frames come in order of offset."""
        with self._locked(partition):
            summary = self._open(partition, now_ns)
            taken: list[Frame] = []
            for frame in frames:
                verdict = judge(summary.progress, frame.source_offset, frame.made_ns)
                if verdict is Verdict.TAKEN_BEFORE:
                    continue
                if verdict is Verdict.OF_NEW_TOPIC:
                    _log.warning("archive_topic_made_anew partition=%d offset=%d", partition, frame.source_offset)
                    self._write(partition, taken, summary)
                    taken = []
                    summary = self._close(partition, now_ns, Progress(made_ns=summary.progress.made_ns))
                elif verdict is Verdict.AFTER_GAP:
                    first, last = summary.progress.source_offset + 1, frame.source_offset - 1
                    _log.error("archive_gap partition=%d first_lost=%d last_lost=%d", partition, first, last)
                taken.append(frame)
                summary = extended(summary, frame)
            self._write(partition, taken, summary)
            if summary.rows >= self._rows_per_file:
                self._close(partition, now_ns, summary.progress)

    def close_older(self, opened_before_ns: int, now_ns: int) -> bool:
        """Closes one journal of this process that was opened before a time and holds rows. Whether there was one."""
        for partition in sorted(self._known):
            _, summary = self._known[partition]
            if summary.rows and summary.head.opened_ns < opened_before_ns:
                with self._locked(partition):
                    summary = self._open(partition, now_ns)
                    self._close(partition, now_ns, summary.progress)
                return True
        return False

    def finish_begun(self) -> None:
        """After a crash: finishes what was being closed. What another worker is at is left to it."""
        begun = {path.stem for path in self._journals.iterdir() if path.suffix in {_CLOSING, _MANIFEST}}
        for name in sorted(begun):
            partition = int(name.removeprefix("partition-"))
            with contextlib.suppress(BlockingIOError), self._locked(partition):
                self._finish(partition)

    # --- with the lock of the partition held ------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, partition: int) -> Iterator[None]:
        """What is remembered of a journal is forgotten when anything goes wrong: it is read again then."""
        with self._path(partition, ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            except BaseException:
                self._known.pop(partition, None)
                raise

    def _open(self, partition: int, now_ns: int) -> JournalSummary:
        path = self._path(partition, _OPEN)
        known = self._known.get(partition)
        if known is not None and path.exists() and known[0] == _identity(path):
            return known[1]
        self._finish(partition)
        if not path.exists():
            self._begin(partition, JournalHead(partition, Progress(), now_ns))
        summary = summarise(path.read_bytes())
        self._remember(partition, summary)
        return summary

    def _write(self, partition: int, frames: Sequence[Frame], summary: JournalSummary) -> None:
        """Appends; what a crash left beyond the last whole frame is cut off first."""
        if not frames:
            return
        text = b"".join(encode_frame(frame) for frame in frames)
        path = self._path(partition, _OPEN)
        with path.open("r+b") as journal:
            journal.truncate(summary.size_bytes - len(text))
            journal.seek(0, 2)
            journal.write(text)
        sync(path)
        self._remember(partition, summary)

    def _close(self, partition: int, now_ns: int, progress: Progress) -> JournalSummary:
        """The open journal becomes Parquet files; a new one goes on after `progress`."""
        _rename(self._path(partition, _OPEN), self._path(partition, _CLOSING))
        head = JournalHead(partition, progress, now_ns)
        self._begin(partition, head)
        self._finish(partition)
        summary = summarise(encode_head(head))
        self._remember(partition, summary)
        return summary

    def _begin(self, partition: int, head: JournalHead) -> None:
        draft = self._path(partition, _DRAFT)
        draft.write_bytes(encode_head(head))
        sync(draft)
        _rename(draft, self._path(partition, _OPEN))

    def _finish(self, partition: int) -> None:
        """Brings a closing that was begun to its end, from wherever it stands."""
        closing, manifest = self._path(partition, _CLOSING), self._path(partition, _MANIFEST)
        if not manifest.exists():
            if not closing.exists():
                return
            self._write_drafts(partition, closing)
        for planned in decode_manifest(manifest.read_bytes()):
            draft, final = self._path(partition, _DRAFTS) / planned.draft, self._directory / planned.final
            if draft.exists():
                if final.exists():
                    raise FileExistsError(f"{final}: a closed file is never written again")
                _make_folder(final.parent, self._directory)
                _rename(draft, final)
        _remove(closing)
        _remove(manifest)

    def _write_drafts(self, partition: int, closing: Path) -> None:
        journal = closing.read_bytes()
        summary = summarise(journal)
        if not self._path(partition, _OPEN).exists():  # the crash was between the two renames of `_close`
            self._begin(partition, JournalHead(partition, summary.progress, summary.head.opened_ns))
        drafts = self._path(partition, _DRAFTS)
        shutil.rmtree(drafts, ignore_errors=True)
        drafts.mkdir()
        messages = [decode_scored(frame.value) for frame in parse_frames(journal) if frame.rows]
        del journal
        parts = list(build_parts(rows_of_messages(messages), self.contexts)) if messages else []
        parts += build_completeness_parts(messages)
        planned = plan_files(summary, parts)
        for part, file in zip(parts, planned, strict=True):
            write_parquet(drafts / file.draft, part.table)
        sync(drafts)
        draft = self._path(partition, _DRAFT)
        draft.write_bytes(encode_manifest(planned))
        sync(draft)
        _rename(draft, self._path(partition, _MANIFEST))
        _log.info(
            "archive_closed partition=%d rows=%d files=%d offsets=%s..%d",
            *(
                partition,
                summary.rows,
                len(planned),
                summary.first and summary.first[0],
                summary.progress.source_offset,
            ),
        )

    def _remember(self, partition: int, summary: JournalSummary) -> None:
        self._known[partition] = (_identity(self._path(partition, _OPEN)), summary)

    def _path(self, partition: int, suffix: str) -> Path:
        return self._journals / f"partition-{partition:04d}{suffix}"


def _identity(path: Path) -> tuple[int, int, int]:
    """Another worker has written if this is another one."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _rename(source: Path, target: Path) -> None:
    source.rename(target)
    sync(target.parent)
    if source.parent != target.parent:
        sync(source.parent)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    sync(path.parent)


def _make_folder(folder: Path, root: Path) -> None:
    """With its parents up to `root`, each name synced."""
    if folder != root and not folder.exists():
        _make_folder(folder.parent, root)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)
