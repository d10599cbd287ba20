"""How long to wait before asking a service again that failed: exponential, capped, with jitter."""

from __future__ import annotations

from typing import Final

FIRST_DELAY_S: Final = 0.2
LONGEST_DELAY_S: Final = 5.0
"""Short on purpose: after an outage the page must show alarms again within seconds."""


def plan_delay_s(failures_in_a_row: int, random_ratio: float) -> float:
    """The wait after the n-th failure (n ≥ 1): half of min(5 s, 0.2 s · 2^(n-1)), plus up to as much again.

    `random_ratio` is a random number in 0..1.
    """
    longest_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(failures_in_a_row - 1, 16))
    return longest_s * (0.5 + 0.5 * random_ratio)
