"""Bursts, floods and chattering, against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest

from stream_processor.trial.episode import (
    count_chattering,
    count_in_windows,
    find_bursts,
    find_floods,
)

S = 1_000_000_000


def times(*seconds):
    return np.array(seconds, dtype=np.int64) * S


def flood_by_hand(seconds):
    """Second by second: how many of the last 600 s; above 10 a flood begins, below 5 it ends."""
    found, is_flood = [], False
    for now in range(int(max(seconds)) + 1_300):
        count = sum(now - 600 < each <= now for each in seconds)
        if not is_flood and count > 10:
            is_flood = True
            found.append([now, None])
        elif is_flood and count < 5:
            is_flood = False
            found[-1][1] = now
    return found


@pytest.mark.parametrize("seed", range(30))
def test_floods_begin_and_end_as_when_counted_second_by_second(seed):
    chance = np.random.default_rng(seed)
    seconds = np.sort(chance.choice(6_000, size=chance.integers(5, 120), replace=False)).tolist()
    found = [[each.begin_ns // S, each.end_ns // S] for each in find_floods(times(*seconds))]
    assert found == flood_by_hand(seconds)


def test_ten_in_ten_minutes_are_no_flood_and_eleven_are_one():
    assert find_floods(times(*range(0, 600, 60))) == []
    (flood,) = find_floods(times(*range(0, 605, 55)))
    assert (flood.begin_ns // S, flood.size) == (550, 11)


def test_bursts_are_activations_within_ten_minutes_of_one_another():
    bursts = find_bursts(times(0, 600, 1_200, 1_801, 5_000, 5_001))
    assert [(each.begin_ns // S, each.end_ns // S, each.size) for each in bursts] == [(0, 1_200, 3), (5_000, 5_001, 2)]
    assert find_bursts(times()) == []


def test_the_third_activation_within_a_minute_chatters():
    assert count_chattering(times(0, 30, 60)) == 1
    assert count_chattering(times(0, 30, 61)) == 0
    assert count_chattering(times(0, 10, 20, 30, 200)) == 2
    assert count_chattering(times(0)) == 0


def test_activations_are_counted_by_ten_minutes_of_the_clock():
    windows, counts = count_in_windows(times(0, 599, 600, 4_000))
    assert (windows // S).tolist() == [0, 600, 3_600]
    assert counts.tolist() == [2, 1, 1]
