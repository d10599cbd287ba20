"""What every detector is: scores a batch of readings, then learns it; its state is columns over channels.

    d = distance of a reading from what the detector expects, in its own robust standard deviations ("sigma"), d >= 0
    s = d / (d + 3)                                                             the score, 0 <= s <= 1
    0 as expected · 0.5 = 3 sigma · 0.667 = 6 sigma · 0.8 = 12 sigma · NaN none (the channel is in warm-up)

A detector calibrates d so that readings that are independent and normal give d as |N(0, 1)| or less: a score of 0.5
then comes at most 27 times in 10,000 readings (the action limits of a Shewhart chart, ISO 7870-2). So one set-point
means the same for all detectors. The map is monotone and has an inverse (`to_sigma`): what has no upper end, such as a
spike of 1e9, stays comparable, and any two detectors can be drawn on one axis. A score says how unusual a reading is,
not in which direction and not why: that is `Explanation`.

When it fails: d is a distance in units of the usual scatter, no probability. Where the scatter has heavy tails, more
than 27 in 10,000 are beyond 0.5; the set-point of a condition is chosen by a backtest, not by the normal table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats, Int64s
from stream_processor.packed_rows import Rows

__all__ = [
    "SIGMA_AT_HALF",
    "VALUE_MAX",
    "Batch",
    "Detector",
    "Explanation",
    "Round",
    "Rows",
    "check_batch",
    "split_rounds",
    "stable_order",
    "to_score",
    "to_sigma",
]

SIGMA_AT_HALF: Final = 3.0
"""The distance, in sigma, whose score is 0.5."""
VALUE_MAX: Final = 1e15
"""Values are within it on both sides: no quantity comes near, and the square still is a number, in float32 too."""

_NumberT = TypeVar("_NumberT", float, Floats)
_SHORT: Final = 1 << 16
"""Numbers below it are sorted as 16 bits: numpy sorts those by radix, eight times as fast as longer ones."""


class Batch(NamedTuple):
    """Readings as columns of one length."""

    rows: Rows
    """The channel of each reading, as a row of the detector's state."""
    times_ns: Int64s
    """Event times: nanoseconds since 1970, UTC."""
    values: Floats
    """In the channel's unit; finite, within ± `VALUE_MAX`."""
    resolutions: Floats
    """The smallest difference that means something, in the same unit, > 0."""

    def take(self, positions: Rows | slice) -> Batch:
        """The readings at these positions."""
        rows, times_ns, values, resolutions = self
        return Batch(rows[positions], times_ns[positions], values[positions], resolutions[positions])


class Explanation(NamedTuple):
    """Why a reading has its score, in numbers and words."""

    sigma: float
    """The distance d behind the score; NaN in warm-up."""
    text: str
    """What was expected, with its unit, without the value itself: "nearest seen before 367 µε"."""


class Detector(Protocol):
    """One algorithm over many channels at once. It is built without arguments, or with a seed that has a default.

    A channel is a row of the state, given by the caller; rows are dense and never change their meaning. Quality control
    comes first: readings are finite and not bad. A batch with a value that is none, or beyond ± `VALUE_MAX`, is refused
    whole with ValueError (`check_batch`), and nothing has been learnt.

    In one call to `learn` or `score_and_learn` a channel stands at most once: the caller splits a batch in which it
    stands more often (`split_rounds`). `score` takes any. What a detector learns of a channel is in the order of time:
    readings that are older than one that was learnt are history, which callers score and do not learn. A gap is no
    fault: a detector says what it makes of one.

    A batch means, bit for bit, what its readings mean one by one. (numpy's + - * / and sqrt keep this whatever the
    length; its exp, log and sums along an axis need a test.)
    """

    NAME: ClassVar[str]
    """As in `DETECTORS`, in columns and in settings."""
    VERSION: ClassVar[int]
    """Of the snapshot: one of another version is refused."""
    STATE_BYTES: ClassVar[int]
    """Of one channel in memory, and in a snapshot (beside some hundred bytes for all): at most this."""
    COST_NS: ClassVar[float]
    """Of scoring and learning one reading among 100,000 channels in random order on one core of 2023: at most this."""
    WARM_UP_READINGS: ClassVar[int]
    """A channel has no score before it has been read this often."""

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1. New rows are in warm-up."""

    def score(self, batch: Batch) -> Floats:
        """Scores each reading against what has been learnt; learns nothing.

        Returns:
            One score a reading, 0 to 1; NaN while the channel is in warm-up.
        """

    def learn(self, batch: Batch) -> None:
        """Learns each reading."""

    def score_and_learn(self, batch: Batch) -> Floats:
        """`score`, then `learn`, for less than the price of both."""

    def explain(self, batch: Batch, units: Sequence[str]) -> list[Explanation]:
        """Why these readings have the scores that `score` gives them now: asked before they are learnt.

        For the few readings that become conditions or that somebody asks about; it may be slow.

        Args:
            batch: as for `score`.
            units: the unit of each reading, to be shown ("µε").
        """

    def snapshot(self) -> bytes:
        """The state as versioned bytes; `restore` continues bit for bit."""

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this detector and version."""


def to_score(sigma: _NumberT) -> _NumberT:
    """The score of a distance (>= 0, in sigma), or those of a column. An infinite one is 1, none (NaN) is none."""
    return 1.0 - SIGMA_AT_HALF / (sigma + SIGMA_AT_HALF)


def to_sigma(score: float) -> float:
    """The distance, in sigma, that has this score (0 to 1)."""
    return math.inf if score >= 1.0 else SIGMA_AT_HALF * score / (1.0 - score)


def check_batch(batch: Batch) -> None:
    """Raises ValueError if a value is none, or is beyond ± `VALUE_MAX`."""
    values = batch.values
    if len(values) == 0 or (np.minimum.reduce(values) >= -VALUE_MAX and np.maximum.reduce(values) <= VALUE_MAX):
        return
    at = int(np.flatnonzero(~(np.abs(values) <= VALUE_MAX))[0])
    raise ValueError(
        f"reading {at} of {len(values)}, row {batch.rows[at]}: {values[at]} is no number within ±{VALUE_MAX:g}"
    )


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
    order = stable_order(rows)
    ordered = rows[order]
    is_first = np.empty(len(rows), dtype=np.bool_)
    is_first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    is_live = ~is_history[order]
    live_before: Int64s = np.cumsum(is_live) - is_live
    starts = np.flatnonzero(is_first)
    number = live_before - np.repeat(live_before[starts], np.diff(np.append(starts, len(rows))))
    by_round = stable_order(number)
    edges = np.flatnonzero(np.diff(number[by_round])) + 1
    for chunk in np.split(by_round, edges):
        positions = order[chunk]
        live = is_live[chunk]
        yield Round(positions[live], positions[~live])


def stable_order(numbers: Int64s | Rows) -> Rows:
    """As argsort; equal numbers keep their order. No number is negative."""
    return np.argsort(numbers.astype(np.uint16) if int(numbers.max()) < _SHORT else numbers, kind="stable")
