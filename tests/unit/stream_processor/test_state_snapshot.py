"""Snapshots as messages: in chunks, two slots in turn; what is torn or mixed is never put together."""

from __future__ import annotations

import itertools
import random

import pytest

from contracts.kafka_topic import STATE_SNAPSHOTS
from stream_processor.distributed.state_snapshot import (
    CHUNK_BYTES,
    SnapshotAssembly,
    SnapshotMessage,
    WholeSnapshot,
    split_snapshot,
    turn_of,
)

OLD = bytes(random.Random(1).randbytes(3 * CHUNK_BYTES + 17))
NEW = bytes(random.Random(2).randbytes(2 * CHUNK_BYTES))
SECOND_NS = 1_000_000_000


def newest(messages):
    assembly = SnapshotAssembly()
    for key, value in messages:
        assembly.take(key, value)
    return next(iter(assembly.newest_first()), None)


def compacted(messages):
    """As Kafka leaves it: of each key the newest, in order."""
    last = {message.key: at for at, message in enumerate(messages)}
    return [message for at, message in enumerate(messages) if last[message.key] == at]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 17])
def test_what_was_split_is_put_together(size):
    assert newest(split_snapshot(3, 0, 77, OLD[:size])) == WholeSnapshot(77, OLD[:size])


def test_every_message_fits_the_topic():
    messages = split_snapshot(3, 0, 77, OLD)
    assert max(len(each.key) + len(each.value) for each in messages) + 1_024 < STATE_SNAPSHOTS.message_bytes_max


@pytest.mark.parametrize("cut", range(4))
def test_a_snapshot_that_was_not_written_to_its_end_leaves_the_one_before(cut):
    before, torn = split_snapshot(3, 6, 77, OLD), split_snapshot(3, 7, 99, NEW)
    assert len(torn) == 3
    messages = before + torn[:cut]
    expected = WholeSnapshot(99, NEW) if cut == len(torn) else WholeSnapshot(77, OLD)
    assert newest(messages) == expected
    assert newest(compacted(messages)) == expected


def test_the_snapshot_before_the_newest_is_there_too():
    assembly = SnapshotAssembly()
    for key, value in split_snapshot(3, 6, 77, OLD) + split_snapshot(3, 7, 99, NEW):
        assembly.take(key, value)
    assert assembly.newest_first() == [WholeSnapshot(99, NEW), WholeSnapshot(77, OLD)]


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_slot_that_is_torn_when_its_turn_comes_again_leaves_the_other(cut):
    messages = split_snapshot(3, 5, 11, NEW) + split_snapshot(3, 6, 77, OLD) + split_snapshot(3, 7, 99, OLD[5:])[:cut]
    assert newest(compacted(messages)) == WholeSnapshot(77, OLD)


def test_chunks_of_two_workers_in_one_slot_are_never_mixed():
    first, second = split_snapshot(3, 6, 77, OLD), split_snapshot(3, 6, 99, OLD[::-1])
    mixed = [first[0], second[0], first[1], second[1], *first[2:], *second[2:]]
    found = newest(mixed)
    assert found is None or found in {WholeSnapshot(77, OLD), WholeSnapshot(99, OLD[::-1])}
    assert newest([second[0], *first[1:]]) is None


def test_the_state_that_is_further_on_wins_whoever_wrote_last():
    messages = split_snapshot(3, 6, 99, NEW) + split_snapshot(3, 7, 77, OLD)
    assert newest(messages) == WholeSnapshot(99, NEW)


@pytest.mark.parametrize(
    "message",
    [
        SnapshotMessage(b"3/A/head", b"no json"),
        SnapshotMessage(b"3/A/head", b'{"version": 1}'),
        SnapshotMessage(b"3/A/head", b'{"version": 2, "identity": "00", "next_offset": 1, "chunks": 0}'),
        SnapshotMessage(b"3/A/head", b'{"version": 1, "identity": "zz", "next_offset": 1, "chunks": 0}'),
        SnapshotMessage(b"\xff\xff", b"x"),
        SnapshotMessage(b"3/C/0", b"x"),
    ],
)
def test_what_is_none_of_ours_is_passed_over(message):
    assert newest([message, *split_snapshot(3, 1, 99, NEW), message]) == WholeSnapshot(99, NEW)


def test_each_partition_has_a_turn_in_each_interval_and_not_all_at_once():
    turns = [[turn_of(second * SECOND_NS, number, 4, 30.0) for second in range(120)] for number in range(4)]
    changes = [[at for at in range(1, 120) if row[at] != row[at - 1]] for row in turns]
    assert [len(each) for each in changes] == [3, 4, 4, 4]
    assert all(later - earlier == 30 for each in changes for earlier, later in itertools.pairwise(each))
    assert len({at % 30 for each in changes for at in each}) == 4
