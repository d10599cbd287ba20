"""The pipeline means the same however readings are grouped, wherever it is restored, however channels are numbered."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from contracts.record import Record, concatenate
from contracts.uplink import BatchIdentity
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.pipeline import Pipeline, Scored, join_scored

START_NS = 1_761_955_200_000_000_000
SECOND_NS = 1_000_000_000
CHANNELS = (3, 4, 70_000, 5, 6)
GATEWAY_OF_CHANNEL = dict(zip(CHANNELS, ("gw-1", "gw-1", "gw-1", "gw-2", "gw-2"), strict=True))
QUANTITIES = ("methane_lel", "temperature", "acceleration", "fire_alarm", "wind_speed")
AGES_S = (0, 0, 0, 0, 1, 20, 50, 70, 300, 86_400 * 40, 1_761_000_000, -70)
VALUES = (0.0, 0.0, 0.04, 1.0, 24.9, 26.0, 30.0, 60.0, -7.0, 1e9, np.nan, np.inf, -np.inf)
REASONS = (Reason.OK,) * 6 + (Reason.NO_ANSWER, Reason.CLOCK_SUSPECT, 255)


def fleet(numbers: tuple[int, ...] = CHANNELS) -> FleetIndex:
    """Two gateways, one channel a node; conditions on value and score, with and without delays."""
    nodes = [f"n-{at}" for at in range(len(numbers))]
    site = {"site_id": "s", "district_id": "d", "domain": "gas", "name": "s", "latitude": 0.0, "longitude": 0.0}
    limits = {"priority": 1, "colour": "red", "title": "t"}
    return FleetIndex(
        FleetSnapshot.model_validate(
            {
                "revision": 1,
                "districts": [{"district_id": "d", "name": "d"}],
                "sites": [site],
                "gateways": [{"gateway_id": each, "district_id": "d", "name": "g"} for each in ("gw-1", "gw-2")],
                "nodes": [
                    {"node_id": node, "gateway_id": gateway, "bus_id": "b", "site_id": "s", "model": "m"}
                    for node, gateway in zip(nodes, GATEWAY_OF_CHANNEL.values(), strict=True)
                ],
                "channels": [
                    {"channel_id": number, "node_id": node, "quantity": quantity}
                    for number, node, quantity in zip(numbers, nodes, QUANTITIES, strict=True)
                ],
                "conditions": [
                    {"condition_id": "c-0", "channel_id": numbers[0], "set_point": 25.0, "deadband": 2.0, **limits},
                    {"condition_id": "c-1", "channel_id": numbers[1], "set_point": 25.0, "on_delay_s": 3.0, **limits},
                    {
                        "condition_id": "c-2",
                        "channel_id": numbers[0],
                        "set_point": 0.5,
                        "input": "score_ewma_z",
                        **limits,
                    },
                    *(
                        {
                            "condition_id": f"c-{name}-{at}",
                            "channel_id": numbers[at],
                            "set_point": 0.4,
                            "input": f"score_{name}",
                            **limits,
                        }
                        for at, name in ((0, "rate_of_change"), (1, "rate_of_change"), (1, "flat_line"))
                    ),
                ],
            }
        )
    )


@dataclass(frozen=True)
class Row:
    """One reading in the making."""

    channel: int
    age_s: float
    value: float
    reason: int
    is_historical: bool


ROWS = st.builds(
    Row,
    st.sampled_from(range(len(CHANNELS))),
    st.sampled_from(AGES_S),
    st.sampled_from(VALUES),
    st.sampled_from(REASONS),
    st.sampled_from((False, False, False, True)),
)


@st.composite
def batch_lists(draw: st.DrawFn) -> list[Record]:
    """Batches in order of arrival: gateways in turn, epochs that begin, clocks that jump, channels many times."""
    received_s, epoch, batches = 0.0, 7, []
    for number in range(draw(st.integers(1, 12))):
        received_s += draw(st.sampled_from((0.0, 0.5, 1.0, 14.0, 40.0, -2.0)))
        epoch += draw(st.sampled_from((0, 0, 0, 0, 1)))
        gateway = draw(st.sampled_from(("gw-1", "gw-2")))
        own = [at for at, channel in enumerate(CHANNELS) if GATEWAY_OF_CHANNEL[channel] == gateway]
        rows = [replace(row, channel=own[row.channel % len(own)]) for row in draw(st.lists(ROWS, max_size=12))]
        identity = draw(st.sampled_from((BatchIdentity(gateway, epoch, number + 1), None)))
        batches.append(_record(rows, received_s, identity))
    return batches


def _record(rows: list[Row], received_s: float, identity: BatchIdentity | None) -> Record:
    received_ns = START_NS + int(received_s * SECOND_NS)
    count = len(rows)
    return Record(
        channel_id=np.array([CHANNELS[row.channel] for row in rows], dtype=np.uint32),
        phenomenon_ns=np.array([received_ns - int(row.age_s * SECOND_NS) for row in rows], dtype=np.int64),
        received_ns=np.full(count, received_ns, dtype=np.int64),
        value=np.array([row.value for row in rows], dtype=np.float64),
        reason=np.array([row.reason for row in rows], dtype=np.uint8),
        is_historical=np.array([row.is_historical for row in rows], dtype=np.bool_),
        batch_index=np.zeros(count, dtype=np.int32),
        batches=(identity,),
    )


def started(numbers: tuple[int, ...] = CHANNELS) -> Pipeline:
    """A pipeline whose detectors are warm and whose clock runs."""
    pipeline = Pipeline()
    pipeline.take_fleet(fleet(numbers))
    for second in range(32):
        rows = [Row(at, 0.0, 1.0 + second % 3, Reason.OK, is_historical=False) for at in range(len(CHANNELS))]
        record = _record(rows, second - 40.0, BatchIdentity("gw-1", 7, 0))
        pipeline.step(replace(record, channel_id=np.array(numbers, dtype=np.uint32)), 1)
    return pipeline


def columns(scored: Scored) -> tuple[bytes, ...]:
    """What is said of each reading, to the bit."""
    record = scored.record
    parts = (scored.event_ns, scored.reason, scored.score_ewma_z, scored.is_late, record.value, record.phenomenon_ns)
    return tuple(np.ascontiguousarray(part).tobytes() for part in parts)


@given(batch_lists(), st.data())
@settings(max_examples=100, deadline=None)
def test_grouping_does_not_matter(batches: list[Record], data: st.DataObject) -> None:
    one_by_one, grouped = started(), started()
    apart = [one_by_one.step(batch, 1) for batch in batches]
    cuts = sorted(data.draw(st.sets(st.integers(1, len(batches))))) if len(batches) > 1 else []
    edges = [0, *cuts, len(batches)]
    parts = [batches[start:stop] for start, stop in itertools.pairwise(edges) if stop > start]
    together = [grouped.step(concatenate(part), 1) for part in parts]
    whole, joined = join_scored(together), join_scored(apart)
    assert columns(whole) == columns(joined)
    assert whole.events == joined.events
    assert whole.duplicates == joined.duplicates
    assert grouped.snapshot() == one_by_one.snapshot()


@given(batch_lists())
@settings(max_examples=40, deadline=None)
def test_one_reading_at_a_time_says_the_same(batches: list[Record]) -> None:
    whole, single = started(), started()
    together = whole.step(concatenate(batches), 1)
    parts = [single.step(_rows(batch, at), 1) for batch in batches for at in _cuts(batch)]
    assert columns(together) == columns(join_scored(parts))
    assert together.events == [event for part in parts for event in part.events]
    assert whole.snapshot() == single.snapshot()


def _cuts(batch: Record) -> list[slice]:
    """One slice a reading; an empty batch is one slice without any."""
    return [slice(at, at + 1) for at in range(len(batch))] or [slice(0, 0)]


def _rows(record: Record, at: slice) -> Record:
    return Record(
        record.channel_id[at],
        record.phenomenon_ns[at],
        record.received_ns[at],
        record.value[at],
        record.reason[at],
        record.is_historical[at],
        record.batch_index[at],
        record.batches,
    )


@given(batch_lists(), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_a_pipeline_that_is_restored_anywhere_goes_on_bit_for_bit(batches: list[Record], restored_at: int) -> None:
    steady, current = started(), started()
    for at, batch in enumerate(batches):
        if at == min(restored_at, len(batches) - 1):
            snapshot = current.snapshot()
            current = Pipeline()
            current.restore(snapshot)
            current.take_fleet(fleet(), 5)
        now_ns = START_NS + at * 5 * SECOND_NS
        ours, theirs = current.step(batch, 1), steady.step(batch, 1)
        assert columns(ours) == columns(theirs)
        assert ours.events == theirs.events
        assert ours.changed_lanes == theirs.changed_lanes
        assert current.find_stale(now_ns) == steady.find_stale(now_ns)
    assert current.snapshot() == steady.snapshot()


@given(batch_lists(), st.permutations(range(100, 100 + len(CHANNELS))))
@settings(max_examples=40, deadline=None)
def test_how_channels_are_numbered_does_not_matter(batches: list[Record], numbers: list[int]) -> None:
    names = dict(zip(CHANNELS, numbers, strict=True))
    plain, renamed = started(), started(tuple(numbers))
    record = concatenate(batches)
    other = replace(record, channel_id=np.array([names[each] for each in record.channel_id.tolist()], dtype=np.uint32))
    ours, theirs = plain.step(record, 1), renamed.step(other, 1)
    assert columns(ours) == columns(theirs)
    assert [(event.condition_id, event.state) for event in ours.events] == [
        (event.condition_id, event.state) for event in theirs.events
    ]


@given(batch_lists())
@settings(max_examples=40, deadline=None)
def test_scores_are_rounded_and_finite_and_stand_beside_no_bad_reading(batches: list[Record]) -> None:
    scored = started().step(concatenate(batches), 1)
    scores = scored.score_ewma_z[~np.isnan(scored.score_ewma_z)]
    assert ((scores >= 0.0) & (scores <= 1.0)).all()
    np.testing.assert_array_equal(scores, [round(each, 3) for each in scores.tolist()])
    is_bad = np.isin(scored.reason, [0, 1, 2, 3], invert=True)
    assert np.isnan(scored.score_ewma_z[is_bad]).all()
    assert np.isfinite(scored.record.value[~is_bad]).all()
