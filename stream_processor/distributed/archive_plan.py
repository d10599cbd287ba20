"""What the archive decides: which messages are new, how the journal of a partition reads, how files are called. Pure.

A *journal* holds what was taken from one partition and is in no closed file yet. All numbers little-endian:

    head   4 B magic "CSJ1", u32 partition, i64 source offset taken before, i64 newest made_ns before, i64 opened_ns,
           u32 CRC-32 of what stands before it
    frame  u32 length of the value, u32 CRC-32 of what follows, i64 source_offset, i64 made_ns, u32 rows, the value

The value is a ScoredMessage as it stood in Kafka; of one without rows only the frame is kept, so that its offset is
known as taken. A frame that is cut off or corrupt ends the journal: what stood there was never confirmed to Kafka, so
it comes again (or, if a disk lost it later, the next message shows a gap of offsets).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, NamedTuple

from contracts.errors import RecordError
from contracts.record_message import decode_scored
from stream_processor.archive_columns import FilePart

_MAGIC: Final = b"CSJ1"
_HEAD: Final = struct.Struct("<4sIqqq")
_CRC: Final = struct.Struct("<I")
_LENGTHS: Final = struct.Struct("<II")
_FRAME: Final = struct.Struct("<qqI")
HEAD_BYTES: Final = _HEAD.size + _CRC.size
_FRAME_BYTES: Final = _LENGTHS.size + _FRAME.size
NOTHING_TAKEN: Final = -1


class Progress(NamedTuple):
    """How far a partition is taken."""

    source_offset: int = NOTHING_TAKEN
    """Of the last message that was taken."""
    made_ns: int = 0
    """The newest `made_ns` of all that were taken."""


class Verdict(Enum):
    """What a message is to the archive."""

    NEXT = auto()
    TAKEN_BEFORE = auto()
    AFTER_GAP = auto()
    """Messages before it never came: Kafka had dropped them by age."""
    OF_NEW_TOPIC = auto()
    """Its number was taken before, but it was made later than all that were: the topic was made anew."""


def judge(progress: Progress, source_offset: int, made_ns: int) -> Verdict:
    """What a message is, by its place in `observations` and the bridge's clock."""
    if source_offset <= progress.source_offset:
        return Verdict.OF_NEW_TOPIC if made_ns > progress.made_ns else Verdict.TAKEN_BEFORE
    if progress.source_offset != NOTHING_TAKEN and source_offset > progress.source_offset + 1:
        return Verdict.AFTER_GAP
    return Verdict.NEXT


class Frame(NamedTuple):
    """One message in a journal."""

    source_offset: int
    made_ns: int
    rows: int
    """Of all files that it will stand in."""
    value: bytes
    """Empty if there are no rows."""


def read_frame(value: bytes) -> Frame:
    """A message of `observations.scored` as the journal keeps it. Raises RecordError."""
    message = decode_scored(value)
    lost = sum(len(lost.channel_ids) for lost in message.channels_lost)
    rows = len(message.record) + lost + len(message.completeness)
    return Frame(message.source_offset, message.made_ns, rows, value if rows else b"")


@dataclass(frozen=True, slots=True)
class JournalHead:
    """How a journal begins."""

    partition: int
    taken_before: Progress
    opened_ns: int
    """Our clock."""


@dataclass(frozen=True, slots=True)
class JournalSummary:
    """What a journal holds."""

    head: JournalHead
    progress: Progress
    rows: int
    size_bytes: int
    """Of its whole frames."""
    first: tuple[int, int] | None
    """(source_offset, made_ns) of its first frame."""


def encode_head(head: JournalHead) -> bytes:
    """A journal's head as bytes."""
    text = _HEAD.pack(_MAGIC, head.partition, *head.taken_before, head.opened_ns)
    return text + _CRC.pack(zlib.crc32(text))


def decode_head(journal: bytes) -> JournalHead:
    """Raises RecordError if `journal` does not begin as one."""
    text, checksum = journal[: _HEAD.size], journal[_HEAD.size : HEAD_BYTES]
    if len(checksum) != _CRC.size or _CRC.pack(zlib.crc32(text)) != checksum or text[: len(_MAGIC)] != _MAGIC:
        raise RecordError("not a journal of the archive")
    _, partition, source_offset, made_ns, opened_ns = _HEAD.unpack(text)
    return JournalHead(partition, Progress(source_offset, made_ns), opened_ns)


def encode_frame(frame: Frame) -> bytes:
    """A frame as bytes."""
    body = _FRAME.pack(frame.source_offset, frame.made_ns, frame.rows) + frame.value
    return _LENGTHS.pack(len(frame.value), zlib.crc32(body)) + body


def parse_frames(journal: bytes) -> Iterator[Frame]:
    """The whole frames after the head, up to the first that is cut off or corrupt."""
    view, at = memoryview(journal), HEAD_BYTES
    while at + _FRAME_BYTES <= len(view):
        length, checksum = _LENGTHS.unpack_from(view, at)
        end = at + _FRAME_BYTES + length
        body = view[at + _LENGTHS.size : end]
        if end > len(view) or zlib.crc32(body) != checksum:
            return
        source_offset, made_ns, rows = _FRAME.unpack_from(body)
        yield Frame(source_offset, made_ns, rows, bytes(body[_FRAME.size :]))
        at = end


def summarise(journal: bytes) -> JournalSummary:
    """What a journal holds. Raises RecordError if it is none."""
    head = decode_head(journal)
    summary = JournalSummary(head, head.taken_before, 0, HEAD_BYTES, None)
    for frame in parse_frames(journal):
        summary = extended(summary, frame)
    return summary


def extended(summary: JournalSummary, frame: Frame) -> JournalSummary:
    """The summary of the journal with one frame more."""
    return JournalSummary(
        head=summary.head,
        progress=Progress(frame.source_offset, max(frame.made_ns, summary.progress.made_ns)),
        rows=summary.rows + frame.rows,
        size_bytes=summary.size_bytes + _FRAME_BYTES + len(frame.value),
        first=summary.first or (frame.source_offset, frame.made_ns),
    )


class PlannedFile(NamedTuple):
    """One file of a journal that is being closed."""

    draft: str
    """Name in the partition's folder of drafts; none that a reader of all Parquet files would find."""
    final: str
    """Path below the archive's directory."""


def plan_files(summary: JournalSummary, parts: Sequence[FilePart]) -> list[PlannedFile]:
    """What the files of a journal's rows are called.

    The name tells which messages of which partition a file holds, and when the first was made: a topic that is made
    anew begins at 0 again.
    """
    if summary.first is None:
        return []
    offset, made_ns = summary.first
    begin = datetime.fromtimestamp(max(made_ns, 0) // 1_000_000_000, UTC)
    name = (
        f"part-{begin:%Y%m%dT%H%M%SZ}-{summary.head.partition:04d}-{offset:012d}-{summary.progress.source_offset:012d}"
    )
    return [
        PlannedFile(f"{number}.draft", f"{part.dataset}/{part.folder}/{name}.parquet")
        for number, part in enumerate(parts)
    ]


def encode_manifest(files: Sequence[PlannedFile]) -> bytes:
    """The note that makes the files of a journal valid together."""
    return json.dumps([list(each) for each in files]).encode()


def decode_manifest(text: bytes) -> list[PlannedFile]:
    """Reads `encode_manifest` back."""
    return [PlannedFile(*each) for each in json.loads(text)]
