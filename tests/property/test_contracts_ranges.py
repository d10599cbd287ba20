"""RangeSet against Python's own set."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from contracts.errors import PayloadError
from contracts.ranges import BATCH_MAX, RangeSet

SMALL = st.integers(0, 60)
pairs = st.tuples(SMALL, SMALL).map(lambda pair: (min(pair), max(pair)))


def numbers_of(ranges):
    return {number for first, last in ranges for number in range(first, last + 1)}


class RangeSetMachine(RuleBasedStateMachine):
    """Whatever is added in whatever order: the same numbers as a set of Python, in canonical ranges."""

    def __init__(self):
        super().__init__()
        self.ranges = RangeSet()
        self.oracle = set()

    @rule(pair=pairs)
    def add_range(self, pair):
        self.ranges.add(*pair)
        self.oracle |= set(range(pair[0], pair[1] + 1))

    @rule(number=SMALL)
    def add_number(self, number):
        self.ranges.add(number)
        self.oracle.add(number)

    @rule(pair=st.tuples(SMALL, SMALL))
    def ask_what_is_missing(self, pair):
        asked = set(range(pair[0], pair[1] + 1))
        gaps = self.ranges.missing(*pair)
        assert numbers_of(gaps) == asked - self.oracle
        assert list(RangeSet(gaps)) == gaps

    @invariant()
    def it_holds_what_was_added(self):
        assert numbers_of(self.ranges) == self.oracle
        assert self.ranges.count == len(self.oracle)
        assert bool(self.ranges) == bool(self.oracle)
        assert {number for number in range(62) if number in self.ranges} == self.oracle

    @invariant()
    def it_is_sorted_disjoint_and_not_adjacent(self):
        held = list(self.ranges)
        assert all(first <= last for first, last in held)
        assert all(low[1] + 1 < high[0] for low, high in pairwise(held))

    @invariant()
    def its_wire_form_comes_back(self):
        assert RangeSet.from_flat(self.ranges.flatten()) == self.ranges


TestRangeSet = RangeSetMachine.TestCase


@given(st.lists(pairs), st.randoms(use_true_random=False))
def test_the_order_of_adding_does_not_matter(ranges, random):
    shuffled = list(ranges)
    random.shuffle(shuffled)
    assert RangeSet(shuffled) == RangeSet(ranges)
    assert RangeSet.from_flat([edge for pair in shuffled for edge in pair]) == RangeSet(ranges)


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 9), max_size=8))
def test_any_wire_form_of_unsigned_numbers_is_read_or_refused_as_a_payload(flat):
    sound = len(flat) % 2 == 0 and all(
        first <= last <= BATCH_MAX for first, last in zip(flat[::2], flat[1::2], strict=True)
    )
    if sound:
        ranges = RangeSet.from_flat(flat)
        assert all(edge in ranges for edge in flat)
        assert tuple(ranges) == tuple(sorted(ranges))
    else:
        with pytest.raises(PayloadError):
            RangeSet.from_flat(flat)
