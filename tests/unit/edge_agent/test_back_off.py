"""Exponential back-off."""

from edge_agent.back_off import back_off_s


def test_waits_double_up_to_the_longest_and_jitter_only_shortens():
    assert [back_off_s(attempt, 1.0, 10.0, 0.0) for attempt in (1, 2, 3, 4, 5, 1_000_000)] == [1, 2, 4, 8, 10, 10]
    assert 0.7 <= back_off_s(1, 1.0, 10.0, 1.0) < 1.0
