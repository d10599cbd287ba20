"""What every detector is: scores a batch of readings, then learns it; its state is columns over channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats, Int64s

Rows = NDArray[np.intp]


class Detector(Protocol):
    """One algorithm over many channels at once.

    A channel is a row of the state, given by the caller; rows are dense and never change their meaning. `score` does
    not learn. Readings must be finite and good: quality control comes first. A channel may stand several times in a
    batch: then the batch means the same as its readings one after another.
    """

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1. New rows are in warm-up."""

    def score_and_learn(self, rows: Rows, values: Floats, resolutions: Floats) -> Floats:
        """Scores each reading against what was learnt before it, then learns it.

        Args:
            rows: the channel of each reading.
            values: finite values in the channel's unit.
            resolutions: the smallest difference that means something, in the same unit, > 0.

        Returns:
            One score a reading; NaN while the channel is in warm-up.
        """

    def snapshot(self) -> bytes:
        """The state as versioned bytes; `restore` continues bit for bit."""

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this detector and version."""


def occurrence_rounds(rows: Rows) -> Iterator[NDArray[np.intp]]:
    """Splits a batch into rounds in each of which a channel stands at most once, in order of arrival.

    Yields:
        Positions in the batch. Cost: one stable sort, then one pass a round; the number of rounds is how often the most
        frequent channel stands in the batch.
    """
    if len(rows) == 0:
        return
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    is_first = np.empty(len(rows), dtype=np.bool_)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    if is_first.all():
        yield np.arange(len(rows), dtype=np.intp)
        return
    starts = np.flatnonzero(is_first)
    position: Int64s = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    by_round = np.argsort(position, kind="stable")
    edges = np.flatnonzero(np.diff(position[by_round])) + 1
    for chunk in np.split(by_round, edges):
        yield order[chunk]
