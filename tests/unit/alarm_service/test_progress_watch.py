"""When a reader of Kafka counts as stuck."""

from __future__ import annotations

import pytest

from alarm_service.progress_watch import ProgressWatch


@pytest.fixture
def watch():
    return ProgressWatch(patience_s=60.0, now_s=1_000.0)


def test_a_reader_that_does_not_move_while_messages_wait_is_stuck_after_the_patience(watch):
    assert not watch.is_stuck(0, 7, 1_059.0)
    assert watch.is_stuck(0, 7, 1_060.0)


def test_a_reader_that_moves_is_never_stuck_however_much_waits(watch):
    for number in range(1, 100):
        assert not watch.is_stuck(number, 1_000_000, 1_000.0 + 50.0 * number)


def test_a_reader_with_nothing_to_read_is_not_stuck_and_its_patience_begins_with_the_first_message(watch):
    assert not watch.is_stuck(0, 0, 5_000.0)
    assert not watch.is_stuck(0, 1, 5_059.0)
    assert watch.is_stuck(0, 1, 5_060.0)


def test_not_knowing_what_waits_is_no_excuse(watch):
    assert not watch.is_stuck(0, None, 1_030.0)
    assert watch.is_stuck(0, None, 1_060.0)


def test_a_good_reason_excuses(watch):
    watch.excuse(1_050.0)
    assert not watch.is_stuck(0, 7, 1_109.0)
    assert watch.is_stuck(0, 7, 1_110.0)
