"""Ranges of batches: what is sent, stored, acknowledged, missing."""

from __future__ import annotations

import pytest

from contracts.errors import PayloadError
from contracts.ranges import BATCH_MAX, RangeSet


@pytest.mark.parametrize(
    ("added", "ranges"),
    [
        ([], []),
        ([(1, 1)], [(1, 1)]),
        ([(1, 2), (3, 4)], [(1, 4)]),
        ([(3, 4), (1, 2)], [(1, 4)]),
        ([(1, 2), (4, 5)], [(1, 2), (4, 5)]),
        ([(1, 2), (4, 5), (3, 3)], [(1, 5)]),
        ([(1, 9), (3, 4)], [(1, 9)]),
        ([(3, 4), (7, 8), (11, 12), (1, 20)], [(1, 20)]),
        ([(3, 4), (7, 8), (5, 7)], [(3, 8)]),
        ([(5, 5), (5, 5)], [(5, 5)]),
        ([(0, 0), (1, 1)], [(0, 1)]),
        ([(0, BATCH_MAX)], [(0, BATCH_MAX)]),
    ],
)
def test_ranges_are_kept_sorted_disjoint_and_not_adjacent(added, ranges):
    assert list(RangeSet(added)) == ranges
    assert RangeSet(added) == RangeSet(ranges)


def test_a_single_number_is_a_range_of_one():
    numbers = RangeSet()
    numbers.add(7)
    assert list(numbers) == [(7, 7)]
    assert 7 in numbers
    assert 6 not in numbers
    assert 8 not in numbers


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3), (0, BATCH_MAX + 1), (BATCH_MAX + 1, BATCH_MAX + 1)])
def test_what_is_no_range_of_batches_is_refused_and_changes_nothing(first, last):
    numbers = RangeSet([(1, 2)])
    with pytest.raises(ValueError, match="not a range of batches"):
        numbers.add(first, last)
    assert list(numbers) == [(1, 2)]


@pytest.mark.parametrize(
    ("first", "last", "gaps"),
    [
        (0, 20, [(0, 2), (6, 8), (11, 20)]),
        (3, 10, [(6, 8)]),
        (4, 9, [(6, 8)]),
        (7, 7, [(7, 7)]),
        (4, 4, []),
        (6, 5, []),
        (11, 30, [(11, 30)]),
    ],
)
def test_what_is_missing_within_a_range_is_named(first, last, gaps):
    assert RangeSet([(3, 5), (9, 10)]).missing(first, last) == gaps


def test_the_wire_form_goes_there_and_back():
    numbers = RangeSet([(9, 10), (3, 5)])
    assert numbers.flatten() == [3, 5, 9, 10]
    assert RangeSet.from_flat([3, 5, 9, 10]) == numbers
    assert RangeSet.from_flat([]) == RangeSet()


@pytest.mark.parametrize("flat", [[1], [1, 2, 3], [2, 1], [5, 5, 4, 3], [0, 2**63], [2**64 - 1, 2**64 - 1]])
def test_a_wire_form_that_is_none_is_refused_as_a_payload(flat):
    with pytest.raises(PayloadError, match="acknowledged ranges"):
        RangeSet.from_flat(flat)


def test_the_whole_of_all_batches_can_be_counted_and_asked_for_truth():
    numbers = RangeSet.from_flat([0, BATCH_MAX])
    assert numbers.count == BATCH_MAX + 1
    assert list(numbers) == [(0, BATCH_MAX)]
    assert bool(numbers)
    assert not RangeSet()


def test_a_long_wire_form_in_the_worst_order_is_read_in_bounded_time():
    many = 200_000
    flat = [edge for number in range(many, 0, -1) for edge in (number * 2, number * 2)]
    assert RangeSet.from_flat(flat).count == many


def test_a_set_of_ranges_is_equal_to_nothing_else_and_cannot_be_a_key():
    assert RangeSet() != []
    with pytest.raises(TypeError):
        hash(RangeSet())
