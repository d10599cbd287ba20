"""The window that waits for a message that is missing by seq."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_processor.sequence_window import AHEAD_MAX_COUNT, WAITING_MAX_BYTES, SequenceWindow

TIMEOUT_NS = 2_000_000_000


def opened(expected: int = 10) -> SequenceWindow[str]:
    return SequenceWindow(expected=expected)


def test_before_the_first_message_any_number_is_the_next():
    window: SequenceWindow[str] = SequenceWindow()
    assert window.is_next(200)
    window.advance(255)
    assert window.is_next(0)
    assert not window.is_next(1)


def test_what_waits_is_freed_in_order_and_across_the_wrap_as_soon_as_the_missing_one_is_there():
    window = opened(254)
    for seq, name in ((1, "d"), (255, "b"), (0, "c")):
        window.note_ahead(seq, name, 1, 5)
    window.advance(254)
    assert window.pop_next() == ["b", "c", "d"]
    assert window.opened_ns is None
    assert window.expected == 2


def test_what_was_taken_at_once_counts_for_the_order_but_is_not_freed_again():
    window = opened()
    window.note_ahead(11, None, 0, 5)
    window.note_ahead(12, "x", 1, 6)
    window.advance(10)
    assert window.pop_next() == ["x"]


def test_a_second_hole_keeps_the_window_open_from_the_first_message_out_of_order():
    window = opened()
    window.note_ahead(11, "a", 1, 5)
    window.note_ahead(13, "b", 1, 6)
    window.advance(10)
    assert window.pop_next() == ["a"]
    assert window.opened_ns == 5


def test_the_timeout_elapses_exactly_then_and_a_clock_that_was_set_back_does_not_stop_it():
    window = opened()
    assert not window.is_elapsed(10**18, TIMEOUT_NS)
    window.note_ahead(11, "a", 1, 5)
    assert not window.is_elapsed(5 + TIMEOUT_NS - 1, TIMEOUT_NS)
    assert window.is_elapsed(5 + TIMEOUT_NS, TIMEOUT_NS)
    assert window.is_elapsed(4, TIMEOUT_NS)


def test_so_many_messages_later_the_missing_one_is_given_up_before_its_number_comes_again():
    window = opened()
    for distance in range(1, AHEAD_MAX_COUNT):
        window.note_ahead(10 + distance, None, 0, 5)
    assert not window.is_full
    window.note_ahead(200, None, 0, 5)
    assert window.is_full


def test_a_gateway_cannot_fill_the_memory_with_messages_that_wait():
    window = opened()
    window.note_ahead(11, "a", WAITING_MAX_BYTES, 5)
    assert not window.is_full
    window.note_ahead(12, "b", 1, 5)
    assert window.is_full


@given(st.integers(0, 255), st.integers(1, 40), st.randoms(use_true_random=False))
def test_any_order_of_arrival_gives_the_messages_of_the_edge_node_in_its_order(first, count, chance):
    arriving = [(first + index) % 256 for index in range(count)]
    chance.shuffle(arriving)
    window: SequenceWindow[int] = SequenceWindow(expected=first)
    taken = []
    for seq in arriving:
        if window.is_next(seq):
            window.advance(seq)
            taken += [seq, *window.pop_next()]
        else:
            window.note_ahead(seq, seq, 1, 5)
    assert taken == [(first + index) % 256 for index in range(count)]
    assert window.opened_ns is None


@given(st.integers(0, 255), st.sets(st.integers(1, 60), min_size=1))
def test_giving_up_frees_all_that_waits_in_the_order_of_the_edge_node(first, distances):
    window: SequenceWindow[int] = SequenceWindow(expected=first)
    for distance in distances:
        window.note_ahead((first + distance) % 256, distance, 1, 5)
    assert window.close() == sorted(distances)
    assert window.opened_ns is None
    assert window.is_next(99)
