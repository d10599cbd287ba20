"""Snapshots of a partition's state as messages of `state.snapshots`, and back. Pure.

A snapshot is too large for one message: chunks, then a head that names them. Each is keyed by its slot, A or B in turn,
so that compaction keeps the newest two. Whoever dies between two chunks has torn one slot; the other is whole. A chunk
carries the identity of its snapshot, so that chunks of two workers are never put together.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final, NamedTuple

from contracts.observation import NANOSECONDS_PER_SECOND

CHUNK_BYTES: Final = 1_280 * 1024
"""Below the topic's largest message, with room for what Kafka adds."""
SLOTS: Final = ("A", "B")
_VERSION: Final = 1
_HEAD: Final = "head"
_IDENTITY_BYTES: Final = 16


class SnapshotMessage(NamedTuple):
    """One message of the topic."""

    key: bytes
    value: bytes


class WholeSnapshot(NamedTuple):
    """A snapshot of which nothing is missing."""

    next_offset: int
    """Of topic `observations`: the first message that the state does not know."""
    data: bytes


def turn_of(made_ns: int, partition: int, partitions: int, interval_s: float) -> int:
    """Counts the intervals of a partition by the log's time: a snapshot is due when it changes.

    The partitions take their turns one after another, so that not all of them write at once.
    """
    interval_ns = round(interval_s * NANOSECONDS_PER_SECOND)
    return (made_ns + partition * interval_ns // partitions) // interval_ns


def split_snapshot(partition: int, turn: int, next_offset: int, data: bytes) -> list[SnapshotMessage]:
    """The messages of a snapshot, in the order in which they must be written."""
    slot = SLOTS[turn % len(SLOTS)]
    identity = hashlib.sha256(b"%d\n" % next_offset + data).digest()[:_IDENTITY_BYTES]
    chunks = [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
    head = {
        "version": _VERSION,
        "identity": identity.hex(),
        "next_offset": next_offset,
        "chunks": len(chunks),
        "bytes": len(data),
    }
    return [
        *(SnapshotMessage(_key(partition, slot, str(at)), identity + chunk) for at, chunk in enumerate(chunks)),
        SnapshotMessage(_key(partition, slot, _HEAD), json.dumps(head).encode()),
    ]


class SnapshotAssembly:
    """Takes messages of one partition of the topic in order; knows the newest whole snapshot of each slot."""

    def __init__(self) -> None:
        self._whole: dict[str, WholeSnapshot] = {}
        self._chunks: dict[tuple[str, str], bytes] = {}
        """By slot and position."""

    def newest_first(self) -> list[WholeSnapshot]:
        """The whole snapshots. Who cannot read the newest (a newer version wrote it) has another one to try."""
        return sorted(self._whole.values(), key=lambda whole: whole.next_offset, reverse=True)

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """The next message. What is none of ours is passed over."""
        names = (key or b"").decode(errors="replace").split("/")
        if value is None or len(names) != 3 or names[1] not in SLOTS:
            return
        _, slot, name = names
        if name != _HEAD:
            self._chunks[slot, name] = value
        elif whole := self._assemble(slot, value):
            self._whole[slot] = whole

    def _assemble(self, slot: str, value: bytes) -> WholeSnapshot | None:
        try:
            head = json.loads(value)
            if head["version"] != _VERSION:
                return None
            identity, next_offset, count = (
                bytes.fromhex(head["identity"]),
                int(head["next_offset"]),
                int(head["chunks"]),
            )
        except (ValueError, KeyError, TypeError):
            return None
        chunks = [self._chunks.get((slot, str(at)), b"") for at in range(count)]
        data = b"".join(chunk[_IDENTITY_BYTES:] for chunk in chunks if chunk[:_IDENTITY_BYTES] == identity)
        if hashlib.sha256(b"%d\n" % next_offset + data).digest()[:_IDENTITY_BYTES] != identity:
            return None
        return WholeSnapshot(next_offset, data)


def _key(partition: int, slot: str, name: str) -> bytes:
    return f"{partition}/{slot}/{name}".encode()
