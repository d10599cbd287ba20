"""Observations: a value with its time and its quality, never alone."""

from __future__ import annotations

import dataclasses

import pytest

from contracts.observation import NANOSECONDS_PER_MILLISECOND, Observation, whole_milliseconds
from contracts.quality import REASONS, Level, Reason


@pytest.mark.parametrize("reason", Reason)
def test_the_reason_decides_the_level(reason):
    assert Observation("gas-1", "methane_lel", 0, None, reason).level is REASONS[reason].level


def test_an_observation_is_good_unless_it_says_why_not():
    assert Observation("gas-1", "methane_lel", 0, 1.5).level is Level.GOOD


def test_an_observation_does_not_change():
    observation = Observation("gas-1", "methane_lel", 0, 1.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        observation.value = 0.0


@pytest.mark.parametrize(
    ("time_ns", "whole_ns"),
    [(0, 0), (999_999, 0), (1_000_000, 1_000_000), (1_761_955_200_123_456_789, 1_761_955_200_123_000_000)],
)
def test_a_time_is_rounded_down_to_what_a_sparkplug_timestamp_can_carry(time_ns, whole_ns):
    assert whole_milliseconds(time_ns) == whole_ns
    assert whole_ns // NANOSECONDS_PER_MILLISECOND * NANOSECONDS_PER_MILLISECOND == whole_ns
