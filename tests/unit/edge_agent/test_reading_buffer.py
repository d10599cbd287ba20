"""The buffer between poller and disk: batches per bus, bounded, every discard counted."""

from contracts.ranges import RangeSet
from edge_agent.spool.reading_buffer import MAX_BATCH_READINGS, ReadingBuffer
from edge_agent.spool.set_points import SetPoints


def readings(count: int, first: int = 0) -> list:
    return [(1, first + number, 0.5, 0) for number in range(count)]


def test_batches_are_per_bus_and_numbered_over_all_buses():
    buffer = ReadingBuffer(epoch=7, limit=10_000)
    buffer.put("a", readings(2))
    buffer.put("b", readings(MAX_BATCH_READINGS + 1))
    buffer.put("a", readings(1, 50))
    sealed = buffer.seal()
    assert [(one.epoch, one.batch, one.bus_id, len(one.readings)) for one in sealed] == [
        (7, 1, "a", 3),
        (7, 2, "b", MAX_BATCH_READINGS),
        (7, 3, "b", 1),
    ]


def test_after_a_failed_commit_the_same_batches_come_first_with_the_same_numbers():
    buffer = ReadingBuffer(1, 10_000)
    buffer.put("a", readings(2))
    first = buffer.seal()
    buffer.failed()
    buffer.put("a", readings(1, 9))
    again = buffer.seal()
    assert again[:1] == first
    assert [one.batch for one in again] == [1, 2]
    buffer.committed(again)
    assert buffer.waiting_count == 0
    assert buffer.seal() == []


def test_beyond_the_limit_the_oldest_go_and_are_counted():
    buffer = ReadingBuffer(1, 10)
    for number in range(4):
        buffer.put("a", readings(4, 10 * number))
    assert buffer.discarded_total == 6
    assert buffer.waiting_count == 10
    (sealed,) = buffer.seal()
    assert sealed.readings[-1][1] == 33, "the newest reading is still there"
    buffer.failed()
    buffer.put("a", readings(4, 100))
    assert buffer.discarded_total == 16, "an uncommitted batch goes as a whole: half a batch would be no batch"
    assert [one.batch for one in buffer.seal()] == [2], "its number is never used again"


def test_what_is_being_committed_is_not_discarded():
    buffer = ReadingBuffer(1, 10)
    buffer.put("a", readings(8))
    sealed = buffer.seal()
    buffer.put("a", readings(8, 50))
    buffer.committed(sealed)
    assert buffer.discarded_total + buffer.waiting_count == 8


def test_a_batch_that_the_far_end_has_stored_before_our_disk_needs_no_keeping():
    buffer = ReadingBuffer(1, 100)
    buffer.put("a", readings(3))
    buffer.seal()
    buffer.failed()
    assert buffer.find(1, 1) is not None
    buffer.acknowledge(2, RangeSet([(1, 1)]))
    assert buffer.find(1, 1) is not None
    buffer.acknowledge(1, RangeSet([(1, 1)]))
    assert buffer.find(1, 1) is None
    assert buffer.waiting_count == 0


def test_after_a_new_epoch_numbers_begin_again_and_what_was_sealed_keeps_its_identity():
    buffer = ReadingBuffer(1, 100)
    buffer.put("a", readings(3))
    buffer.seal()
    buffer.failed()
    buffer.begin_epoch(9)
    buffer.begin_epoch(9)
    buffer.put("a", readings(3))
    assert [one.key for one in buffer.seal()] == [(1, 1), (9, 1)]
    buffer.failed()
    buffer.acknowledge(9, RangeSet([(1, 1)]))
    assert [one.key for one in buffer.sealed()] == [(1, 1)]


def test_a_batch_with_bad_quality_or_a_value_beyond_a_set_point_is_urgent():
    buffer = ReadingBuffer(1, 100, {1: SetPoints(low=None, high=25.0), 2: SetPoints(low=3.0, high=None)})
    buffer.put("good", [(1, 0, 24.9, 0), (2, 0, 3.1, 0), (3, 0, 1e9, 0)])
    assert not buffer.has_urgent
    buffer.put("high", [(1, 0, 25.0, 0)])
    buffer.put("low", [(2, 0, 3.0, 0)])
    buffer.put("bad", [(3, 0, None, 64)])
    assert buffer.has_urgent
    assert {one.bus_id: one.is_urgent for one in buffer.seal()} == {
        "good": False,
        "high": True,
        "low": True,
        "bad": True,
    }
    assert not buffer.has_urgent
