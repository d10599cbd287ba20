"""Rows of state that hold a channel's numbers side by side: one gather and one scatter a batch. Pure.

A row is of 8-byte words. Each word is one float64, one int64 or two float32: the columns below are views of them.
Rows of 16 and 32 bytes are copied in a third of the time that rows of 24 bytes take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats, Int64s
from stream_processor.detectors.contract import Batch

Singles = NDArray[np.float32]

READINGS_PER_BLOCK: Final = 8_192
"""Readings worked on at once: what is computed of them stays in the processor's cache."""


def grown(state: Floats, count: int, new_row: tuple[float, ...]) -> Floats:
    """The state with at least `count` rows; each added one is `new_row`, in float64 words."""
    added = count - len(state)
    if added <= 0:
        return state
    return np.concatenate([state, np.tile(np.array(new_row, dtype=np.float64), (added, 1))])


def single(state: Floats, word: int, half: int) -> Singles:
    """The first or second (0, 1) float32 of a word."""
    return state.view(np.float32)[:, 2 * word + half]


def integer(state: Floats, word: int) -> Int64s:
    """A word as int64."""
    return state.view(np.int64)[:, word]


def score_in_blocks(batch: Batch, score_block: Callable[[Batch], Floats], length: int = READINGS_PER_BLOCK) -> Floats:
    """The scores of a batch, taken in parts of at most `length` readings one after another."""
    if len(batch.rows) <= length:
        return score_block(batch)
    starts = range(0, len(batch.rows), length)
    return np.concatenate([score_block(batch.take(slice(start, start + length))) for start in starts])
