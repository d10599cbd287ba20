"""Episodes: from the activation of a condition to its return; and how they cluster. Pure.

*Burst*: activations each at most 10 minutes after the one before. *Flood*: begins when more than 10 activations came
within 10 minutes, ends when fewer than 5 did (ANSI/ISA-18.2-2016, IEC 62682, EEMUA 191; there for one operator, here
for all channels that were tried). *Chattering*: an activation that is the third or later of its condition within 60 s
(what is commonly taken as its criterion). History (readings that came late) pages nobody and is counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from contracts.alarm import ConditionEvent
from contracts.condition import ConditionState
from contracts.record import Int64s

_NS_PER_S: Final = 1_000_000_000
WINDOW_NS: Final = 600 * _NS_PER_S
FLOOD_BEGINS_ABOVE: Final = 10
FLOOD_ENDS_BELOW: Final = 5
CHATTER_NS: Final = 60 * _NS_PER_S
CHATTER_COUNT: Final = 3


@dataclass(slots=True)
class Episode:
    """A condition that was active."""

    condition_id: str
    channel_id: int
    is_historical: bool
    begin_ns: int
    value: float
    """The reading that decided."""
    input_value: float
    """The same, or the score that decided."""
    why: str
    """Of a score: its explanation."""
    end_ns: int | None = None
    """None: it is still active."""


class EpisodeBook:
    """Puts events together."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        """In the order in which they were found."""
        self._open: dict[tuple[str, bool], Episode] = {}

    def take(self, events: Iterable[ConditionEvent]) -> None:
        """Events in the order in which the pipeline told them."""
        for event in events:
            key = event.condition_id, event.is_historical
            if event.state is ConditionState.ACTIVE:
                self._open[key] = Episode(*_columns(event))
                self.episodes.append(self._open[key])
            elif key in self._open:
                self._open.pop(key).end_ns = event.phenomenon_ns


def _columns(event: ConditionEvent) -> tuple[str, int, bool, int, float, float, str]:
    name, channel_id, is_historical = event.condition_id, event.channel_id, event.is_historical
    return name, channel_id, is_historical, event.phenomenon_ns, event.value, event.input_value, event.explanation


class Cluster(NamedTuple):
    """Activations that stand near each other."""

    begin_ns: int
    end_ns: int
    size: int
    """Activations."""


def find_bursts(begins_ns: Int64s) -> list[Cluster]:
    """Bursts of two or more, from sorted times of activation."""
    if len(begins_ns) == 0:
        return []
    cuts = np.flatnonzero(np.diff(begins_ns) > WINDOW_NS) + 1
    runs = np.split(begins_ns, cuts)
    return [Cluster(int(run[0]), int(run[-1]), len(run)) for run in runs if len(run) > 1]


def find_floods(begins_ns: Int64s) -> list[Cluster]:
    """Floods, from sorted times of activation. The window is the last 10 minutes before each moment."""
    times = begins_ns.tolist()
    in_window = (np.arange(len(times)) + 1 - np.searchsorted(begins_ns, begins_ns - WINDOW_NS, side="right")).tolist()
    floods: list[Cluster] = []
    at = 0
    while at < len(times):
        if in_window[at] <= FLOOD_BEGINS_ABOVE:
            at += 1
            continue
        last = at
        # With the activation `last - 4` the fifth newest leaves the window, ten minutes after it came.
        while last + 1 < len(times) and times[last + 1] < times[last + 1 - FLOOD_ENDS_BELOW] + WINDOW_NS:
            last += 1
        first = int(at + 1 - in_window[at])
        floods.append(Cluster(times[at], times[last + 1 - FLOOD_ENDS_BELOW] + WINDOW_NS, last + 1 - first))
        at = last + 1
    return floods


def count_chattering(begins_ns: Int64s) -> int:
    """Activations of one condition that are the third or later within a minute; times are sorted."""
    later = begins_ns[CHATTER_COUNT - 1 :]
    earlier = begins_ns[: len(later)]
    return int(np.count_nonzero(later - earlier <= CHATTER_NS))


def count_in_windows(begins_ns: Int64s) -> tuple[Int64s, Int64s]:
    """The begin of each 10 minutes by the clock that have an activation, and how many they have."""
    windows, counts = np.unique(begins_ns // WINDOW_NS, return_counts=True)
    return windows * WINDOW_NS, counts
