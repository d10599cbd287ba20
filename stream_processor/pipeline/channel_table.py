"""Dense rows for channels: the state of detectors and conditions is arrays over rows.

A channel keeps its row for ever (within a process, and over restarts through the snapshot): rows are only appended.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from contracts.record import Floats, UInt32s
from stream_processor.detectors.contract import Rows
from stream_processor.fleet_index import ChannelContext


class ChannelTable:
    """channel_id ↔ row, and what quality control and detectors need of a channel as columns over rows."""

    def __init__(self, channel_ids: Iterable[int] = ()) -> None:
        self.row_of_channel: dict[int, int] = {}
        self.channel_ids: UInt32s = np.zeros(0, dtype=np.uint32)
        self.plausible_min: Floats = np.zeros(0)
        self.plausible_max: Floats = np.zeros(0)
        self.resolution: Floats = np.zeros(0)
        self._sorted_ids: UInt32s = np.zeros(0, dtype=np.uint32)
        self._sorted_rows: Rows = np.zeros(0, dtype=np.intp)
        self._append(channel_ids)

    def __len__(self) -> int:
        return len(self.channel_ids)

    def take_contexts(self, contexts: Iterable[ChannelContext]) -> None:
        """A new fleet revision: new channels get rows, known ones keep theirs."""
        contexts = list(contexts)
        known = self.row_of_channel
        self._append(context.channel.channel_id for context in contexts if context.channel.channel_id not in known)
        for context in contexts:
            row = self.row_of_channel[context.channel.channel_id]
            self.plausible_min[row] = context.quantity.plausible_min
            self.plausible_max[row] = context.quantity.plausible_max
            self.resolution[row] = 0.5 * 10.0**-context.quantity.decimals

    def rows_of(self, channel_ids: UInt32s) -> Rows:
        """The row of each channel. All must be in the table: the host session resolved them from the same fleet."""
        rows = self._sorted_rows[np.searchsorted(self._sorted_ids, channel_ids)]
        return rows.astype(np.intp, copy=False)

    def _append(self, channel_ids: Iterable[int]) -> None:
        added = list(channel_ids)
        for channel_id in added:
            self.row_of_channel[channel_id] = len(self.row_of_channel)
        count = len(added)
        self.channel_ids = np.concatenate([self.channel_ids, np.array(added, dtype=np.uint32)])
        self.plausible_min = np.concatenate([self.plausible_min, np.full(count, -np.inf)])
        self.plausible_max = np.concatenate([self.plausible_max, np.full(count, np.inf)])
        self.resolution = np.concatenate([self.resolution, np.ones(count)])
        self._sorted_rows = np.argsort(self.channel_ids, kind="stable")
        self._sorted_ids = self.channel_ids[self._sorted_rows]
