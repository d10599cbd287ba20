"""Which InfluxDB series a channel's points belong to, for a whole fleet. Pure.

Built once for each revision of the fleet; then the rows of many channels are one binary search over columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from contracts.record import Bools, UInt32s
from stream_processor.detectors.contract import Rows
from stream_processor.fleet_index import ChannelContext
from stream_processor.line_protocol import series_of_fleet


class SeriesTable:
    """The series of all channels of one fleet revision. Never changed."""

    def __init__(self, contexts: Mapping[int, ChannelContext]) -> None:
        self._channel_ids: UInt32s = np.sort(np.fromiter(contexts, np.uint32, count=len(contexts)))
        self.series = series_of_fleet(self._channel_ids.tolist(), contexts)
        """By row, what the lines of a channel begin with (`line_protocol.build_bodies`)."""

    def find(self, channel_ids: UInt32s) -> tuple[Rows, Bools]:
        """Rows of channels, and which of them the fleet has: the row of one that it has not means nothing."""
        if len(self._channel_ids) == 0:
            return np.zeros(len(channel_ids), np.intp), np.zeros(len(channel_ids), np.bool_)
        rows = np.searchsorted(self._channel_ids, channel_ids)
        rows[rows == len(self._channel_ids)] = 0
        return rows, self._channel_ids[rows] == channel_ids
