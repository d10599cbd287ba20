"""Frames of assets: readings of channels that come when they like become one vector of short means an asset and time.

    frame number = event time // period of the asset           whole periods since 1970: no state, no drift
    value        = mean of a channel's readings in the frame; NaN if there was none

A frame is closed by the first reading of its asset in a later frame, so time is that of the data alone, and a silent
asset has no frames. A reading for a frame that is closed is late: it is counted and left out. An open frame is never
shown, so what follows has no look-ahead.

Units: those of the channels. State: 28 bytes a channel, 16 an asset. Cost: see docs/benchmarks.md. The period should
hold at least one reading of each channel that matters; a channel that is slower is simply missing in some frames.
When it fails: channels of one asset whose clocks differ by more than a period are put side by side though they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Bools, Floats, Int64s
from stream_processor.detectors.contract import Batch, check_batch, stable_order
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.group_contract import Frames
from stream_processor.packed_rows import Rows

_NAME: Final = "asset_frame"
_VERSION: Final = 1
_NONE: Final = -1
_ONE: Final = np.int32(1)
"""As wide as the counts: numpy adds it forty times as fast as a number that it has to convert."""
_NEVER: Final = np.iinfo(np.int64).min


class Taken(NamedTuple):
    """What readings of a batch closed."""

    closed: list[Frames]
    """First the frames that an asset's first closing in the batch gives, then those of second ones, and so on: an
    asset stands at most once in each. One may be empty: a frame in which nothing was heard is none."""
    closings: Int64s
    """By reading: how many closings of its asset come before it, the one that it causes included. What was known of
    the asset when it came is what the first so many of `closed` say."""


class AssetFrames:
    """Open frames of assets that have at most `width` channels each. See the module."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.late_total = 0
        """Readings that came after their frame was closed."""
        self._asset: Rows = np.zeros(0, dtype=np.intp)
        """By channel: its asset, or none."""
        self._sum: Floats = np.zeros(0)
        self._count = np.zeros(0, dtype=np.int32)
        self._resolution = np.zeros(0)
        self._members = np.zeros((0, width), dtype=np.intp)
        """By asset and place: the channel, or none."""
        self._period_ns: Int64s = np.zeros(0, dtype=np.int64)
        self._open: Int64s = np.zeros(0, dtype=np.int64)
        """By asset: the number of the frame that is open, or never."""

    def grow(self, channel_count: int, asset_count: int) -> None:
        """Makes room for rows of channels and assets; new channels belong to no asset."""
        self._asset = _grown(self._asset, channel_count, _NONE)
        self._sum = _grown(self._sum, channel_count, 0.0)
        self._count = _grown(self._count, channel_count, 0)
        self._resolution = _grown(self._resolution, channel_count, 0.0)
        self._members = _grown(self._members, asset_count, _NONE)
        self._period_ns = _grown(self._period_ns, asset_count, 1)
        self._open = _grown(self._open, asset_count, _NEVER)

    def set_asset(self, asset: int, channels: Sequence[int], period_ns: int) -> None:
        """Says which channels an asset has, in the order of their places; its open frame is dropped.

        Raises:
            ValueError: there are too many, one of them is in another asset, or the period is not positive.
        """
        if len(channels) > self.width:
            raise ValueError(f"asset {asset} has {len(channels)} channels: there is room for {self.width}")
        if period_ns <= 0:
            raise ValueError(f"asset {asset}: a period of {period_ns} ns")
        rows = np.array(channels, dtype=np.intp)
        if (taken := rows[~np.isin(self._asset[rows], (asset, _NONE))]).size:
            raise ValueError(f"channel {taken[0]} of asset {asset} is in asset {self._asset[taken[0]]} already")
        before = self._members[asset]
        self._asset[before[before != _NONE]] = _NONE
        self._asset[rows] = asset
        self._members[asset] = _NONE
        self._members[asset, : len(rows)] = rows
        self._period_ns[asset] = period_ns
        self._open[asset] = _NEVER
        self._sum[rows], self._count[rows] = 0.0, 0

    def take(self, batch: Batch) -> Taken:
        """Takes readings in, in the order of their arrival; gives the frames that they closed.

        A channel may stand more than once in the batch. Readings of channels of no asset are left out.
        """
        check_batch(batch)
        asset = self._asset[batch.rows]
        closings: Int64s = np.zeros(len(asset), dtype=np.int64)
        if len(asset) == 0:
            return Taken([], closings)
        if int(asset.min()) == _NONE:
            own = np.flatnonzero(asset != _NONE)
            closed, closings[own] = self.take(batch.take(own))
            return Taken(closed, closings)
        number, opened = batch.times_ns // self._period_ns[asset], self._open[asset]
        if (number > opened).any():
            return self._take_over_edges(batch, asset, number)
        is_late = number < opened
        self._add(batch, is_late)
        return Taken([], closings)

    def _take_over_edges(self, batch: Batch, asset: Rows, number: Int64s) -> Taken:
        """Readings of which some open a later frame."""
        order = stable_order(asset)
        asset, number = asset[order], number[order]
        turn, is_late = self._turns(asset, number)
        closed = []
        for each in range(int(turn.max()) + 1):
            at = np.flatnonzero(turn == each)
            if each > 0:
                on_time = at[~is_late[at]]
                closed.append(self._close(asset[on_time], number[on_time]))
            self._add(batch.take(order[at]), is_late[at])
        closings = np.empty_like(turn)
        closings[order] = turn
        return Taken(closed, closings)

    def _add(self, batch: Batch, is_late: Bools) -> None:
        """Takes readings into the frames that are open."""
        if is_late.any():
            self.late_total += int(is_late.sum())
            batch = batch.take(np.flatnonzero(~is_late))
        np.add.at(self._sum, batch.rows, batch.values)
        np.add.at(self._count, batch.rows, _ONE)
        self._resolution[batch.rows] = batch.resolutions

    def _turns(self, asset: Rows, number: Int64s) -> tuple[Int64s, Bools]:
        """Of readings sorted by asset: how many frames of its asset close before each, and which are late."""
        is_first = np.append(True, asset[1:] != asset[:-1])
        segment = np.cumsum(is_first) - 1
        lowest = int(number.min())
        opened = np.maximum(self._open[asset[is_first]], lowest - 1)
        # One running maximum over all assets: each gets a band of numbers of its own, above those before it.
        highest = max(int(number.max()), int(opened.max()))
        band = segment * (highest - lowest + 2)
        reached = np.maximum.accumulate(np.maximum(number, opened[segment]) - lowest + 1 + band) - band - 1 + lowest
        before = np.append(0, reached[:-1])
        before[is_first] = opened
        steps = np.cumsum(reached > before)
        steps -= (steps[is_first] - (reached > before)[is_first])[segment]
        return steps, number < reached

    def _close(self, asset: Rows, number: Int64s) -> Frames:
        """Closes the frames of these assets (in order; each may stand more than once), opens those of these numbers."""
        rows = asset[np.append(True, asset[1:] != asset[:-1])] if len(asset) else asset
        members = self._members[rows]
        count = np.where(members >= 0, self._count[members], 0)
        total = self._sum[members]
        values = np.full(total.shape, np.nan)
        np.divide(total, count, out=values, where=count > 0)
        ends_ns = (self._open[rows] + 1) * self._period_ns[rows]
        frames = Frames(rows, ends_ns, values, self._resolution[members])
        channels = members[members >= 0]
        self._sum[channels], self._count[channels] = 0.0, 0
        self._open[asset] = number
        is_heard = (count > 0).any(axis=1)
        return frames.take(np.flatnonzero(is_heard))

    def snapshot(self) -> bytes:
        """Versioned bytes; `restore` continues bit for bit."""
        return encode_snapshot(_NAME, _VERSION, self._arrays())

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this version and width."""
        arrays = decode_snapshot(snapshot, _NAME, _VERSION, tuple(self._arrays()))
        *columns, late = arrays
        if columns[4].shape[1] != self.width:
            raise ValueError(f"frames of {columns[4].shape[1]} channels, not {self.width}")
        self._asset, self._sum, self._count, self._resolution, self._members, self._period_ns, self._open = columns
        self.late_total = int(late)

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "asset": self._asset,
            "sum": self._sum,
            "count": self._count,
            "resolution": self._resolution,
            "members": self._members,
            "period_ns": self._period_ns,
            "open": self._open,
            "late": np.array(self.late_total),
        }


def _grown(column: NDArray[Any], count: int, empty: float) -> NDArray[Any]:
    added = max(count - len(column), 0)
    return np.concatenate([column, np.full((added, *column.shape[1:]), empty, dtype=column.dtype)])
