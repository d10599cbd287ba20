"""When a program that died is started again: at once-ish, then ever later, and anew after a healthy minute."""

from __future__ import annotations

from typing import Final

FIRST_DELAY_S: Final = 0.5
LONGEST_DELAY_S: Final = 30.0
HEALTHY_AFTER_S: Final = 60.0
"""A program that ran this long had recovered; its next death counts as its first."""


WEDGED_AFTER_S: Final = 10.0
"""A broker that has run this long without the stream processor getting a connection for as long does not work."""


def is_wedged(unconnected_for_s: float, broker_ran_for_s: float) -> bool:
    """Whether a broker that runs should be started again because it lets nobody in.

    rumqttd can get into that state and never out of it (ADR 0002).

    Args:
        unconnected_for_s: how long the stream processor has been saying that it has no connection; 0 if it has one,
            or does not answer itself.
        broker_ran_for_s: age of the broker's process.
    """
    return min(unconnected_for_s, broker_ran_for_s) >= WEDGED_AFTER_S


def next_delay_s(previous_delay_s: float | None, ran_for_s: float) -> float:
    """How long to wait before the next start.

    Args:
        previous_delay_s: the wait before the start that has just ended; None if it was the first.
        ran_for_s: how long the program ran.
    """
    if previous_delay_s is None or ran_for_s >= HEALTHY_AFTER_S:
        return FIRST_DELAY_S
    return min(previous_delay_s * 2, LONGEST_DELAY_S)
