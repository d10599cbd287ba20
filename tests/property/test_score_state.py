"""Wherever a worker is stopped and restored, and whatever comes again: it says what one unbroken run says."""

from __future__ import annotations

import functools
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.record_message import decode_observations, encode_observations, encode_scored
from stream_processor.distributed.outcome_messages import messages_of
from stream_processor.distributed.partition_state import PartitionState
from tests.observed_city import ObservedCity

SECONDS = 90


@functools.cache
def city(seed):
    made = ObservedCity(gateways=3, partitions=1, seed=seed)
    return made.fleet, [encode_observations(message) for _, message in made.seconds(SECONDS)]


def said(state, offset, value):
    """What leaves the job for a message, without requests to send again, whose patience begins anew at a restart."""
    message = state.parse(value)
    sent = messages_of([(0, state.take(offset, message, message.made_ns))])
    return [(each.topic.name, each.value) for each in sent if each.topic.name != "uplink.commands"]


@functools.cache
def unbroken(seed):
    fleet, values = city(seed)
    state = PartitionState(0, fleet)
    return [said(state, offset, value) for offset, value in enumerate(values)], state.totals


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(1, 3),
    stops=st.lists(st.tuples(st.integers(0, SECONDS - 1), st.integers(0, 40)), max_size=5),
)
def test_a_restart_anywhere_from_an_older_snapshot_changes_nothing(seed, stops):
    """Each stop is (where the worker dies, how many messages ago its last snapshot was)."""
    fleet, values = city(seed)
    expected, totals = unbroken(seed)
    snapshots = {}
    state = PartitionState(0, fleet)
    ages = dict(stops)
    found = {}
    for offset, value in enumerate(values):
        snapshots[offset] = state.snapshot() if stops else b""
        if offset in ages:
            begin = max(0, offset - ages[offset])
            state = PartitionState.restore(snapshots[begin], fleet)
            for again in range(begin, offset):
                assert said(state, again, values[again]) == expected[again], "a replay says something else"
        found[offset] = said(state, offset, value)
    assert [found[offset] for offset in range(SECONDS)] == expected
    assert state.totals == totals


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(1, 3), ends=st.sets(st.integers(1, SECONDS - 1)), poison=st.none() | st.integers(1, SECONDS - 1)
)
def test_how_many_messages_are_taken_at_once_changes_nothing(seed, ends, poison):
    fleet, values = city(seed)
    if poison is not None:
        values = [*values[:poison], b"poison", *values[poison:-1]]
    one, many = PartitionState(0, fleet), PartitionState(0, fleet)
    singly = [one.take(offset, one.parse(value), 7) for offset, value in enumerate(values)]
    together = []
    edges = [0, *sorted(ends), len(values)]
    for begin, end in itertools.pairwise(edges):
        run = []
        for offset in range(begin, end):
            run.append((offset, many.parse(values[offset], run[-1][1].made_ns if run else None)))
        together += many.take_all(run, 7)
    assert [encode_scored(each.scored) for each in together] == [encode_scored(each.scored) for each in singly]
    for name in ("quarantined", "completeness", "commands", "failures"):
        assert [getattr(each, name) for each in together] == [getattr(each, name) for each in singly]
    assert sorted(event.event_id for each in together for event in each.events) == sorted(
        event.event_id for each in singly for event in each.events
    )
    assert many.snapshot() == one.snapshot()


@settings(max_examples=20, deadline=None)
@given(data=st.binary(max_size=200), cut=st.integers(0, 2_000), flip=st.integers(0, 255))
def test_bytes_that_are_no_message_never_raise(data, cut, flip):
    fleet, values = city(1)
    state = PartitionState(0, fleet)
    whole = values[0]
    at = cut % len(whole)
    for offset, value in enumerate([data, whole[:at], whole[:at] + bytes([flip]) + whole[at + 1 :]]):
        outcome = state.take(offset, state.parse(value), 0)
        assert outcome.scored.source_offset == offset
    assert state.next_offset == 3
    assert decode_observations(whole).made_ns
