"""The watermark of each gateway: it tells a reading that is late from one whose clock is wrong.

A live reading that is more than a minute older than its receipt is one of the two. Its gateway's other readings decide:
if the gateway sent, within the last half minute, readings of the time of their receipt, then its clock is right and the
old one is late (a device behind a slow line, a third-party edge node that sends what it had stored without saying so).
If not, the clock is wrong, and the reading is as new as its receipt: a wrong clock must not silence a gas alarm.

The watermark is the highest time that the gateway sent lately, kept in two generations of 15 s of receipt; a new epoch
(the agent was started anew, perhaps with another clock) begins without one. What is older than 30 days is never late:
no edge node keeps that long without saying that it is history; it is a clock that fell back to 1970.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.record import Bools, Int64s, Record
from stream_processor.pipeline.channel_state import NEVER_NS
from stream_processor.pipeline.channel_table import NO_GATEWAY
from stream_processor.pipeline.quality_control import CLOCK_TOLERANCE_NS

GENERATION_NS: Final = 15 * NANOSECONDS_PER_SECOND
LATENESS_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""How much older than the watermark a reading must be to be late."""
OLDEST_LATE_NS: Final = 30 * 86_400 * NANOSECONDS_PER_SECOND
_GENERATION, _CURRENT, _BEFORE, _EPOCH = range(4)
_NO_EPOCH: Final = -1

GatewayRows = NDArray[np.intp]


class GatewayClocks:
    """Watermarks of all gateways, by their position in the channel table."""

    def __init__(self) -> None:
        self.state: Int64s = np.zeros((0, 4), dtype=np.int64)
        """By gateway: generation, highest time in it, highest time in the one before, epoch."""

    def grow(self, count: int) -> None:
        """Makes room for gateways up to `count` - 1."""
        fresh = np.array([NEVER_NS, NEVER_NS, NEVER_NS, _NO_EPOCH], dtype=np.int64)
        added = count - len(self.state)
        if added > 0:
            self.state = np.concatenate([self.state, np.tile(fresh, (added, 1))])

    def find_overtaken(self, record: Record, gateway: GatewayRows, epochs: Sequence[tuple[int, int, int]]) -> Bools:
        """Which live readings are older than what their gateway sent meanwhile; then takes the record's times.

        Args:
            record: in order of arrival.
            gateway: of each reading.
            epochs: from `new_epochs`.
        """
        overtaken = np.zeros(len(record), dtype=np.bool_)
        age_ns = record.received_ns - record.phenomenon_ns
        is_live = ~record.is_historical & (gateway != NO_GATEWAY)
        is_timely = is_live & (np.abs(age_ns) <= CLOCK_TOLERANCE_NS)
        is_old = is_live & (age_ns > CLOCK_TOLERANCE_NS) & (age_ns <= OLDEST_LATE_NS)
        any_old = bool(is_old.any())
        generation = record.received_ns // GENERATION_NS
        for start, stop in self._runs(generation, epochs):
            run = slice(start, stop)
            self._begin_generation(gateway[run], int(generation[start]))
            if any_old and is_old[run].any():
                overtaken[run] = self._judge(gateway[run], record.phenomenon_ns[run], is_timely[run], is_old[run])
            timely = np.flatnonzero(is_timely[run]) + start
            np.maximum.at(self.state[:, _CURRENT], gateway[timely], record.phenomenon_ns[timely])
        return overtaken

    def new_epochs(self, record: Record, index_of_gateway: dict[str, int]) -> list[tuple[int, int, int]]:
        """(position in the record, gateway, epoch) of each batch that begins an epoch of its gateway."""
        known = self.state[:, _EPOCH]
        begun: dict[int, int] = {}
        found = []
        for position, batch in enumerate(record.batches):
            if batch is None:
                continue
            gateway = index_of_gateway.get(batch.gateway_id, NO_GATEWAY)
            if gateway == NO_GATEWAY or batch.epoch <= begun.get(gateway, int(known[gateway])):
                continue
            begun[gateway] = batch.epoch
            found.append((_first_row(record, position), gateway, batch.epoch))
        return found

    def _runs(self, generation: Int64s, epochs: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
        """Stretches of the record in one generation and without a new epoch; epochs begin before their stretch."""
        count = len(generation)
        waiting = sorted(epochs)
        cuts = {0, count, *(position for position, _, _ in waiting)}
        if count and generation.min() != generation.max():
            cuts.update((np.flatnonzero(np.diff(generation)) + 1).tolist())
        edges = sorted(cuts)
        for start, stop in zip(edges, [*edges[1:], count], strict=True):
            while waiting and waiting[0][0] <= start:
                _, gateway, epoch = waiting.pop(0)
                self.state[gateway] = (NEVER_NS, NEVER_NS, NEVER_NS, epoch)
            if stop > start:
                yield start, stop

    def _begin_generation(self, gateway: GatewayRows, generation: int) -> None:
        known = self.state[gateway, _GENERATION]
        behind = gateway[known < generation]
        if len(behind) == 0:
            return
        # A gateway stands several times in `behind`: each time the same is computed from what was before.
        follows = self.state[behind, _GENERATION] == generation - 1
        before = np.where(follows, self.state[behind, _CURRENT], NEVER_NS)
        self.state[behind, _BEFORE] = before
        self.state[behind, _CURRENT] = NEVER_NS
        self.state[behind, _GENERATION] = generation

    def _judge(self, gateway: GatewayRows, phenomenon_ns: Int64s, is_timely: Bools, is_old: Bools) -> Bools:
        """Old readings below the watermark, which rises with each timely reading of the run before them."""
        overtaken = np.zeros(len(gateway), dtype=np.bool_)
        for each in np.unique(gateway[is_old]).tolist():
            own = np.flatnonzero(gateway == each)
            sent = np.where(is_timely[own], phenomenon_ns[own], NEVER_NS)
            known = int(self.state[each, _CURRENT : _BEFORE + 1].max())
            watermark = np.maximum.accumulate(np.concatenate([[known], sent[:-1]]))
            overtaken[own] = is_old[own] & (phenomenon_ns[own] < watermark - LATENESS_NS)
        return overtaken


def _first_row(record: Record, batch: int) -> int:
    """The first reading of a batch, or of the one after it if it has none. Batches stand in order in a record."""
    return int(np.searchsorted(record.batch_index, batch))
