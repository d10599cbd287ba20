"""Exponential back-off with jitter, for everything that is tried again. Pure."""

from __future__ import annotations

JITTER_RATIO = 0.3


def back_off_s(attempt: int, first_s: float, longest_s: float, fraction: float) -> float:
    """How long to wait before attempt number `attempt` + 1.

    Args:
        attempt: failures so far, from 1.
        first_s: wait after the first failure.
        longest_s: never longer than this.
        fraction: random, 0 to 1: the wait is shortened by up to 30 %, so that a fleet does not come all at once.
    """
    wait_s = min(first_s * 2.0 ** min(attempt - 1, 30), longest_s)
    return wait_s * (1.0 - JITTER_RATIO * fraction)
