"""What every detector is: scores a batch of readings, then learns it; its state is columns over channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats, Int64s
from stream_processor.packed_rows import Rows

__all__ = ["Detector", "Round", "Rows", "split_rounds"]

_SHORT: Final = 1 << 16
"""Numbers below it are sorted as 16 bits: numpy sorts those by radix, eight times as fast as longer ones."""


class Detector(Protocol):
    """One algorithm over many channels at once.

    A channel is a row of the state, given by the caller; rows are dense and never change their meaning. Readings must
    be finite and not bad: quality control comes first. In one call to `learn` or `score_and_learn` a channel stands at
    most once: the caller splits a batch in which it stands more often (`split_rounds`). `score` takes any.
    """

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1. New rows are in warm-up."""

    def score(self, rows: Rows, values: Floats, resolutions: Floats) -> Floats:
        """Scores each reading against what has been learnt; learns nothing.

        Args:
            rows: the channel of each reading.
            values: finite values in the channel's unit.
            resolutions: the smallest difference that means something, in the same unit, > 0.

        Returns:
            One score a reading; NaN while the channel is in warm-up.
        """

    def learn(self, rows: Rows, values: Floats, resolutions: Floats) -> None:
        """Learns each reading. Arguments as for `score`."""

    def score_and_learn(self, rows: Rows, values: Floats, resolutions: Floats) -> Floats:
        """`score`, then `learn`, for less than the price of both."""

    def snapshot(self) -> bytes:
        """The state as versioned bytes; `restore` continues bit for bit."""

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this detector and version."""


class Round(NamedTuple):
    """Positions of a batch that can be worked on at once."""

    live: NDArray[np.intp]
    """Each channel at most once."""
    history: NDArray[np.intp]
    """Readings that change nothing, of any channel: to be looked at before the round's live ones are taken."""


def split_rounds(rows: Rows, is_history: Bools) -> Iterator[Round]:
    """Splits a batch so that working on the rounds one after another means the same as on its readings one by one.

    A live reading is in the round after that of the live one of its channel before it; a reading of history in the
    round of the live one after it. Cost: one sort, then one pass a round; the number of rounds is how often the most
    frequent channel stands live in the batch, and one more.
    """
    if len(rows) == 0:
        return
    order = _stable_order(rows)
    ordered = rows[order]
    is_first = np.empty(len(rows), dtype=np.bool_)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    is_live = ~is_history[order]
    live_before: Int64s = np.cumsum(is_live) - is_live
    starts = np.flatnonzero(is_first)
    number = live_before - np.repeat(live_before[starts], np.diff(np.append(starts, len(rows))))
    by_round = _stable_order(number)
    edges = np.flatnonzero(np.diff(number[by_round])) + 1
    for chunk in np.split(by_round, edges):
        positions = order[chunk]
        live = is_live[chunk]
        yield Round(positions[live], positions[~live])


def _stable_order(numbers: Int64s | Rows) -> Rows:
    """As argsort; equal numbers keep their order. No number is negative."""
    return np.argsort(numbers.astype(np.uint16) if int(numbers.max()) < _SHORT else numbers, kind="stable")
