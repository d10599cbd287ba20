"""Frames of assets, beside a plain loop; late, doubled and missing readings."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_processor.detectors.asset_frame import AssetFrames
from stream_processor.detectors.contract import Batch

SECOND_NS = 1_000_000_000
ASSET_OF = {0: 0, 1: 0, 2: 0, 3: 1, 4: 1}
PERIOD_NS = {0: 10 * SECOND_NS, 1: 4 * SECOND_NS}


def two_assets():
    frames = AssetFrames(3)
    frames.grow(6, 2)
    frames.set_asset(0, [0, 1, 2], PERIOD_NS[0])
    frames.set_asset(1, [3, 4], PERIOD_NS[1])
    return frames


def batch_of(readings):
    rows, seconds, values = zip(*readings, strict=True) if readings else ((), (), ())
    times_ns = np.array(seconds, dtype=np.int64) * SECOND_NS
    return Batch(np.array(rows, dtype=np.intp), times_ns, np.array(values, dtype=float), np.full(len(rows), 0.1))


def flat(closed):
    """Frames as (asset, end in s, values)."""
    return [
        (int(row), int(time_ns) // SECOND_NS, tuple(None if np.isnan(each) else float(each) for each in values))
        for frames in closed
        for row, time_ns, values in zip(frames.rows, frames.times_ns, frames.values, strict=True)
    ]


def plain_loop(readings):
    """The same, one reading at a time, without arrays."""
    open_number, heard, closed, late = {}, defaultdict(list), [], 0
    for row, second, value in readings:
        if row not in ASSET_OF:
            continue
        asset = ASSET_OF[row]
        number = second * SECOND_NS // PERIOD_NS[asset]
        if asset in open_number and number < open_number[asset]:
            late += 1
            continue
        if asset in open_number and number > open_number[asset]:
            members = [each for each in ASSET_OF if ASSET_OF[each] == asset]
            means = [sum(heard[each]) / len(heard[each]) if heard[each] else None for each in members]
            end = (open_number[asset] + 1) * PERIOD_NS[asset] // SECOND_NS
            closed.append((asset, end, tuple(means + [None] * (3 - len(means)))))
            for each in members:
                heard[each].clear()
        open_number[asset] = number
        heard[row].append(value)
    return closed, late


READINGS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 60), st.integers(-5, 5).map(float)), min_size=0, max_size=60
)


@settings(max_examples=150, deadline=None)
@given(READINGS, st.integers(1, 60))
def test_frames_are_those_of_a_plain_loop_whatever_the_batches(readings, size):
    """Out of order, doubled, of no asset, and in batches of any size."""
    frames = two_assets()
    closed = [
        each
        for start in range(0, len(readings), size)
        for each in flat(frames.take(batch_of(readings[start : start + size])).closed)
    ]
    expected, late = plain_loop(readings)
    for asset in (0, 1):
        assert [each for each in closed if each[0] == asset] == [each for each in expected if each[0] == asset]
    assert frames.late_total == late


@settings(max_examples=30, deadline=None)
@given(READINGS, READINGS)
def test_restore_continues_bit_for_bit(before, after):
    first, second = two_assets(), AssetFrames(3)
    first.take(batch_of(before))
    second.restore(first.snapshot())
    assert flat(first.take(batch_of(after)).closed) == flat(second.take(batch_of(after)).closed)
    assert first.snapshot() == second.snapshot()


def test_a_frame_is_closed_by_the_first_reading_of_a_later_one_and_only_of_its_asset():
    frames = two_assets()
    assert flat(frames.take(batch_of([(0, 1, 2.0), (0, 2, 4.0), (1, 3, 7.0)])).closed) == []
    assert flat(frames.take(batch_of([(3, 50, 1.0)])).closed) == []
    assert flat(frames.take(batch_of([(2, 31, 5.0)])).closed) == [(0, 10, (3.0, 7.0, None))]


def test_frames_of_one_result_have_an_asset_at_most_once():
    frames = two_assets()
    taken = frames.take(batch_of([(0, 1, 1.0), (3, 1, 1.0), (0, 11, 2.0), (3, 5, 2.0), (0, 21, 3.0), (3, 9, 3.0)]))
    assert [each.rows.tolist() for each in taken.closed] == [[], [0, 1], [0, 1]]


def test_each_reading_knows_which_closings_come_before_it():
    """The first reading of an asset opens: that counts as a closing of nothing."""
    frames = two_assets()
    frames.take(batch_of([(0, 1, 2.0), (3, 1, 2.0)]))
    readings = [(5, 90, 0.0), (1, 2, 1.0), (0, 11, 2.0), (3, 2, 2.0), (1, 5, 9.0), (2, 31, 3.0), (0, 12, 1.0)]
    taken = frames.take(batch_of(readings))
    assert taken.closings.tolist() == [0, 0, 1, 0, 1, 2, 2]
    assert flat(taken.closed) == [(0, 10, (2.0, 1.0, None)), (0, 20, (2.0, None, None))]
    assert frames.late_total == 2


def test_a_value_that_is_none_is_refused_and_nothing_is_taken():
    frames = two_assets()
    before = frames.snapshot()
    with pytest.raises(ValueError, match="nan"):
        frames.take(batch_of([(0, 1, 2.0), (1, 1, float("nan"))]))
    assert frames.snapshot() == before


def test_a_changed_asset_begins_anew():
    frames = two_assets()
    frames.take(batch_of([(0, 1, 2.0), (1, 1, 3.0)]))
    frames.set_asset(0, [1, 5], 10 * SECOND_NS)
    frames.take(batch_of([(1, 2, 8.0), (0, 2, 1.0)]))
    assert flat(frames.take(batch_of([(5, 12, 4.0)])).closed) == [(0, 10, (8.0, None, None))]


@pytest.mark.parametrize(
    ("channels", "period_ns", "told"),
    [([0, 1, 2, 5], 1, "room for 3"), ([0, 3], 1, "channel 3 of asset 0 is in asset 1"), ([0], 0, "period of 0 ns")],
)
def test_an_asset_that_cannot_be_is_refused(channels, period_ns, told):
    with pytest.raises(ValueError, match=told):
        two_assets().set_asset(0, channels, period_ns)


def test_a_snapshot_of_another_width_is_refused():
    with pytest.raises(ValueError, match="frames of 3 channels, not 4"):
        AssetFrames(4).restore(two_assets().snapshot())
