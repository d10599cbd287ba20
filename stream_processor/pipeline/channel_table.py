"""Dense rows for channels: the state of detectors, quality control and conditions is arrays over rows.

A channel keeps its row for ever (within a process, and over restarts through the snapshot): rows are only appended.
What the fleet says of a channel stands in columns over rows, packed in one array so that a record's share of them is
one gather.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.fleet import LifecycleState
from contracts.record import Bools, Floats, UInt32s
from stream_processor.detectors.contract import Rows
from stream_processor.fleet_index import ChannelContext

PLAUSIBLE_MIN: Final = 0
PLAUSIBLE_MAX: Final = 1
RESOLUTION: Final = 2
"""The smallest difference that means something: half of the last digit that is shown, in the quantity's unit."""
MAX_RATE: Final = 3
"""In the quantity's unit per second; infinite where it may jump."""
FLAT_LINE_S: Final = 4
"""Infinite where the quantity may rest."""
_NO_LIMITS: Final = (-1e15, 1e15, 1.0, np.inf, np.inf)
"""Of a channel that the fleet does not have. No quantity comes near to 1e15, and its square is still a number."""
NO_GATEWAY: Final = 0
"""The gateway of a channel that the fleet does not have."""

_DIRECT_LOOK_UP: Final = 8
"""Rows are looked up in a table over channel ids while it is at most this many times longer than there are channels:
2 microseconds for 500 readings, where a search takes 25. Registry ids are dense; made-up ones need not be."""


class ChannelTable:
    """channel_id ↔ row, and what quality control and detectors need of a channel as columns over rows."""

    def __init__(self, channel_ids: Iterable[int] = ()) -> None:
        self.row_of_channel: dict[int, int] = {}
        self.channel_ids: UInt32s = np.zeros(0, dtype=np.uint32)
        self.limits: Floats = np.zeros((0, len(_NO_LIMITS)))
        """By row: PLAUSIBLE_MIN … FLAT_LINE_S."""
        self.gateway: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        """By row: position in `gateway_ids`."""
        self.is_expected: Bools = np.zeros(0, dtype=np.bool_)
        """By row: the fleet has the channel, and its node is not retired."""
        self.gateway_ids: list[str] = [""]
        self.index_of_gateway: dict[str, int] = {"": NO_GATEWAY}
        self._row_of_id: NDArray[np.intp] | None = None
        self._sorted_ids: UInt32s = np.zeros(0, dtype=np.uint32)
        self._sorted_rows: Rows = np.zeros(0, dtype=np.intp)
        self._append(channel_ids)

    def __len__(self) -> int:
        return len(self.channel_ids)

    def take_contexts(self, contexts: Iterable[ChannelContext]) -> None:
        """A new fleet revision: new channels get rows, known ones keep theirs; those that have left have no limits."""
        contexts = list(contexts)
        known = self.row_of_channel
        self._append(context.channel.channel_id for context in contexts if context.channel.channel_id not in known)
        self.limits[:] = _NO_LIMITS
        self.gateway[:] = NO_GATEWAY
        self.is_expected[:] = False
        if not contexts:
            return
        rows = np.array([known[context.channel.channel_id] for context in contexts], dtype=np.intp)
        self.limits[rows] = [_limits(context) for context in contexts]
        self.gateway[rows] = [self._gateway_index(context.node.gateway_id) for context in contexts]
        self.is_expected[rows] = [context.node.state is not LifecycleState.RETIRED for context in contexts]

    def take_gateways(self, gateway_ids: Sequence[str]) -> None:
        """The gateways of an earlier table, in its order, so that what is kept by gateway keeps its meaning."""
        for gateway_id in gateway_ids:
            self._gateway_index(gateway_id)

    def rows_of(self, channel_ids: UInt32s) -> Rows:
        """The row of each channel.

        One that no fleet has named yet (the bridge's fleet is newer) gets a row without limits and conditions.
        """
        rows = self._find(channel_ids)
        if len(rows) and int(rows.min()) < 0:
            self._append(dict.fromkeys(channel_ids[rows < 0].tolist()))
            rows = self._find(channel_ids)
        return rows

    def has_all(self, channel_ids: UInt32s) -> bool:
        """Whether the fleet has all of these channels."""
        rows = self._find(channel_ids)
        return len(rows) == 0 or (int(rows.min()) >= 0 and bool((self.gateway.take(rows) != NO_GATEWAY).all()))

    def _find(self, channel_ids: UInt32s) -> Rows:
        """Rows; -1 where there is none."""
        count = len(channel_ids)
        if count == 0 or len(self) == 0:
            return np.full(count, -1, dtype=np.intp)
        if self._row_of_id is not None and int(channel_ids.max()) < len(self._row_of_id):
            return self._row_of_id.take(channel_ids)
        position = np.minimum(np.searchsorted(self._sorted_ids, channel_ids), len(self) - 1)
        return np.where(self._sorted_ids[position] == channel_ids, self._sorted_rows[position], -1)

    def _gateway_index(self, gateway_id: str) -> int:
        index = self.index_of_gateway.setdefault(gateway_id, len(self.gateway_ids))
        if index == len(self.gateway_ids):
            self.gateway_ids.append(gateway_id)
        return index

    def _append(self, channel_ids: Iterable[int]) -> None:
        added = list(channel_ids)
        for channel_id in added:
            self.row_of_channel[channel_id] = len(self.row_of_channel)
        count = len(added)
        self.channel_ids = np.concatenate([self.channel_ids, np.array(added, dtype=np.uint32)])
        self.limits = np.concatenate([self.limits, np.tile(np.array(_NO_LIMITS), (count, 1))])
        self.gateway = np.concatenate([self.gateway, np.full(count, NO_GATEWAY, dtype=np.intp)])
        self.is_expected = np.concatenate([self.is_expected, np.zeros(count, dtype=np.bool_)])
        self._index()

    def _index(self) -> None:
        self._sorted_rows = np.argsort(self.channel_ids, kind="stable").astype(np.intp, copy=False)
        self._sorted_ids = self.channel_ids[self._sorted_rows]
        self._row_of_id = None
        if len(self) and int(self._sorted_ids[-1]) < _DIRECT_LOOK_UP * (len(self) + 1_024):
            self._row_of_id = np.full(int(self._sorted_ids[-1]) + 1, -1, dtype=np.intp)
            self._row_of_id[self.channel_ids] = np.arange(len(self))


def _limits(context: ChannelContext) -> tuple[float, float, float, float, float]:
    quantity = context.quantity
    return (
        quantity.plausible_min,
        quantity.plausible_max,
        0.5 * 10.0**-quantity.decimals,
        math.inf if quantity.max_rate is None else quantity.max_rate,
        math.inf if quantity.flat_line_s is None else quantity.flat_line_s,
    )
