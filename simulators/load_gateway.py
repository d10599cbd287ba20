"""One gateway of a load: the life of a Sparkplug B 3.0 edge node, with end-to-end acknowledgement. Pure.

    offline --connected--> awaiting the host --host online--> born       (with a primary host)
    offline --connected--> born                                          (without)
    born --host offline--> NDEATH, disconnect --> offline
    any  --connection gone--> offline

NBIRTH, then a DBIRTH for each bus; `seq` 0..255 over all of them and DDATA; the will is an NDEATH with the bdSeq of its
connection. Written from Sparkplug 3.0 and design.md alone: nothing here is shared with the edge agent or the bridge.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.quality import REASONS, Reason
from contracts.quantity import QUANTITIES
from simulators import sparkplug_wire as wire
from simulators.load_fleet import BusPlan, GatewayPlan
from simulators.load_spool import Batch, LoadSpool
from simulators.sparkplug_template import BATCH_METRIC, EPOCH_METRIC, DataTemplate, encode_number, encode_numbers

BD_SEQ: Final = "bdSeq"
REBIRTH: Final = "Node Control/Rebirth"
ACK_EPOCH: Final = "Uplink/AckEpoch"
ACK_RANGES: Final = "Uplink/AckRanges"
RESEND_EPOCH: Final = "Uplink/ResendEpoch"
RESEND_RANGES: Final = "Uplink/ResendRanges"
LOST_EPOCH: Final = "Uplink/LostEpoch"
LOST_RANGES: Final = "Uplink/LostRanges"
NAMESPACE: Final = "spBv1.0"
ASKED_RANGES_MAX: Final = 1_000
"""Ranges of one resend request that are looked at; the host asks again for the rest."""


@dataclass(slots=True)
class Counters:
    """What all gateways of a load have done, together."""

    made_batches: int = 0
    made_readings: int = 0
    bad_readings: int = 0
    sent_live_batches: int = 0
    unsent_batches: int = 0
    """Due while there was no session or its socket was full: they went out later, as history."""
    resent_batches: int = 0
    acknowledged_batches: int = 0
    acknowledged_readings: int = 0
    discarded_batches: int = 0
    """Beyond the spools' limit: gone, and told to the host when it asks."""
    lost_batches: int = 0
    """The host asked for them and was told that they are gone."""
    births: int = 0
    rebirths_asked: int = 0
    resends_asked: int = 0
    refused_commands: int = 0


@dataclass(frozen=True, slots=True)
class Publication:
    """A message for the broker, never retained."""

    topic: str
    payload: bytes
    qos: int = 0


Outbox = list[Publication]


class LoadGateway:
    """The session of one gateway, and its spool.

    Args:
        plan: what it has.
        offsets_ms: for a number of channels: how long before its batch is due each one is measured.
        spool: its unacknowledged batches.
        epoch: of its first start; higher at each start.
        primary_host: waits for this host's STATE before it is born; None: does not.
        counters: shared by all gateways.
    """

    def __init__(
        self,
        plan: GatewayPlan,
        offsets_ms: Callable[[int], Sequence[int]],
        spool: LoadSpool,
        epoch: int,
        primary_host: str | None,
        counters: Counters,
    ) -> None:
        self.plan = plan
        self.spool = spool
        self.epoch = epoch
        self.is_born = False
        self._primary_host = primary_host
        self._counters = counters
        self._is_connected = False
        self._host_ms = -1
        self._bd_seq = -1
        self._seq = 0
        self._batch = 0
        self._templates = [DataTemplate(bus.first_alias, bus.channel_count) for bus in plan.buses]
        self._offsets = [np.array(offsets_ms(bus.channel_count), dtype=np.int64) for bus in plan.buses]
        self._newest: list[Batch | None] = [None] * len(plan.buses)

    # --- the connection ------------------------------------------------------------------------------------------

    @property
    def topic_filters(self) -> list[str]:
        """What it listens to."""
        filters = [self._topic("NCMD"), f"{self._topic('DCMD')}/+"]
        return [*filters, f"{NAMESPACE}/STATE/{self._primary_host}"] if self._primary_host else filters

    def begin_connection(self, now_ms: int) -> Publication:
        """A new connection, with the next bdSeq: its will."""
        self._bd_seq = (self._bd_seq + 1) % 256
        return self._death(now_ms)

    def connected(self, now_ms: int, now_s: float) -> Outbox:
        """CONNACK and SUBACK came."""
        self._is_connected = True
        return [] if self._primary_host else self._give_births(now_ms, now_s)

    def disconnected(self) -> None:
        """The connection is gone."""
        self._is_connected = self.is_born = False

    def restart(self) -> None:
        """The process was killed and starts again: a new epoch, the spool stays."""
        self.disconnected()
        self.epoch += 1
        self._batch = 0
        self._newest = [None] * len(self.plan.buses)

    def farewell(self, now_ms: int) -> Outbox:
        """A proper end: the death that the broker would have sent."""
        was_born, self.is_born = self.is_born, False
        return [self._death(now_ms)] if was_born else []

    # --- what is measured ----------------------------------------------------------------------------------------

    def make(self, bus: int, due_ms: int, values: NDArray[np.float64], bad: dict[int, Reason], now_s: float) -> Batch:
        """A new batch; it is not in the spool yet."""
        self._batch += 1
        self._newest[bus] = batch = Batch(bus, self.epoch, self._batch, due_ms, values, bad, made_s=now_s)
        self._counters.made_batches += 1
        self._counters.made_readings += len(values)
        self._counters.bad_readings += len(bad)
        return batch

    def keep(self, batch: Batch) -> list[Batch]:
        """Puts a batch into the spool; gives what was discarded for it."""
        discarded = self.spool.add(batch)
        self._counters.discarded_batches += len(discarded)
        return discarded

    def send_live(self, batch: Batch, now_ms: int, now_s: float, *, is_full: bool) -> Outbox:
        """Sends a batch for the first time, if there is a session and room in its socket."""
        if not self.is_born or is_full:
            self._counters.unsent_batches += 1
            return []
        self._counters.sent_live_batches += 1
        self.spool.sent(batch, now_s, is_live=True)
        return [self.data(batch, now_ms, is_historical=False)]

    def send_again(self, now_ms: int, now_s: float) -> Outbox:
        """What is due again, or has not gone out yet."""
        if not self.is_born:
            return []
        outbox = []
        for batch in self.spool.take_due(now_s):
            self._counters.resent_batches += batch.sent_count > 0
            self.spool.sent(batch, now_s, is_live=False)
            outbox.append(self.data(batch, now_ms, is_historical=True))
        return outbox

    # --- what the host says --------------------------------------------------------------------------------------

    def hear_state(self, payload: bytes, now_ms: int, now_s: float) -> tuple[Outbox, bool]:
        """A STATE message of the primary host: what to send, and whether to disconnect then.

        A statement older than the last one is not believed (Sparkplug 3.0, section 6.5).
        """
        try:
            statement = json.loads(payload)
            is_online, host_ms = bool(statement["online"]), int(statement["timestamp"])
        except (ValueError, KeyError, TypeError):
            self._counters.refused_commands += 1
            return [], False
        if not self._is_connected or host_ms < self._host_ms:
            return [], False
        self._host_ms = host_ms
        if is_online and not self.is_born:
            return self._give_births(now_ms, now_s), False
        if not is_online and self.is_born:
            return self.farewell(now_ms), True
        return [], False

    def hear_command(self, payload: bytes, now_ms: int, now_s: float) -> tuple[Outbox, list[Batch]]:
        """An NCMD: what to send, and the batches that it acknowledges. Raises WireError."""
        metrics = {metric.name: metric for metric in wire.decode_command(payload)}
        outbox: Outbox = []
        rebirth = metrics.get(REBIRTH)
        if rebirth is not None and rebirth.boolean_value and self.is_born:
            self._counters.rebirths_asked += 1
            outbox += self._give_births(now_ms, now_s, is_new_session=False)
        epoch, ranges = _ranges(metrics, RESEND_EPOCH, RESEND_RANGES)
        if epoch is not None:
            self._counters.resends_asked += 1
            outbox += self._resend(epoch, ranges, now_ms, now_s)
        epoch, ranges = _ranges(metrics, ACK_EPOCH, ACK_RANGES)
        acknowledged = [] if epoch is None else self.spool.acknowledge(epoch, ranges)
        self._counters.acknowledged_batches += len(acknowledged)
        self._counters.acknowledged_readings += sum(len(batch.values) for batch in acknowledged)
        return outbox, acknowledged

    def _resend(self, epoch: int, flat_ranges: Sequence[int], now_ms: int, now_s: float) -> Outbox:
        """Makes due what is there, and says what is not: the host lists it as lost."""
        lost: list[int] = []
        pairs = list(zip(flat_ranges[::2], flat_ranges[1::2], strict=False))[:ASKED_RANGES_MAX]
        for first, asked_last in pairs:
            last = min(asked_last, self._batch) if epoch == self.epoch else asked_last
            if epoch <= self.epoch and first <= last:
                for gap in self.spool.ask(epoch, first, last, now_s):
                    lost += gap
        if not lost or not self.is_born:
            return []
        self._counters.lost_batches += sum(lost[1::2]) - sum(lost[::2]) + len(lost) // 2
        metrics = [encode_number(LOST_EPOCH, epoch, now_ms), encode_numbers(LOST_RANGES, lost, now_ms)]
        return [Publication(self._topic("NDATA"), wire.encode_payload(metrics, now_ms, self._next_seq()))]

    # --- what goes out -------------------------------------------------------------------------------------------

    def _topic(self, message_type: str) -> str:
        return f"{NAMESPACE}/{self.plan.district_id}/{message_type}/{self.plan.gateway_id}"

    def _next_seq(self) -> int:
        seq, self._seq = self._seq, (self._seq + 1) % 256
        return seq

    def _death(self, now_ms: int) -> Publication:
        metrics = [encode_number(BD_SEQ, self._bd_seq, now_ms)]
        return Publication(self._topic("NDEATH"), wire.encode_payload(metrics, now_ms, None), qos=1)

    def _give_births(self, now_ms: int, now_s: float, *, is_new_session: bool = True) -> Outbox:
        self._counters.births += 1
        self.is_born = True
        self._seq = 0
        if is_new_session:
            self.spool.begin_session(now_s)
        metrics = [
            encode_number(BD_SEQ, self._bd_seq, now_ms),
            wire.encode_metric(False, wire.BOOLEAN, timestamp_ms=now_ms, name=REBIRTH),
            encode_number(EPOCH_METRIC, self.epoch, now_ms),
            encode_number(LOST_EPOCH, None, now_ms),
            encode_numbers(LOST_RANGES, None, now_ms),
        ]
        birth = Publication(self._topic("NBIRTH"), wire.encode_payload(metrics, now_ms, self._next_seq()))
        return [birth, *(self._bus_birth(index, bus, now_ms) for index, bus in enumerate(self.plan.buses))]

    def _bus_birth(self, index: int, bus: BusPlan, now_ms: int) -> Publication:
        newest = self._newest[index]
        metrics = [
            self._birth_metric(position, node_id, kind.quantity, bus.first_alias + position, newest, now_ms)
            for position, (node_id, kind) in enumerate(bus.channels())
        ]
        metrics += [encode_number(EPOCH_METRIC, self.epoch, now_ms), encode_number(BATCH_METRIC, None, now_ms)]
        payload = wire.encode_payload(metrics, now_ms, self._next_seq())
        return Publication(f"{self._topic('DBIRTH')}/{bus.bus_id}", payload)

    def _birth_metric(
        self, position: int, node_id: str, quantity: str, alias: int, newest: Batch | None, now_ms: int
    ) -> bytes:
        """A channel with its newest value, or null and stale if it was never read."""
        value, reason, time_ms = None, Reason.STALE, now_ms
        if newest is not None:
            shown = float(newest.values[position])
            value, reason = None if np.isnan(shown) else shown, newest.bad.get(position, Reason.OK)
            time_ms = newest.due_ms - int(self._offsets[newest.bus][position])
        properties: dict[str, wire.PropertyValue] = {"engUnit": QUANTITIES[quantity].unit}
        if reason is not Reason.OK:
            properties |= _properties(reason)
        name = f"{node_id}/{quantity}"
        return wire.encode_metric(
            value, wire.DOUBLE, timestamp_ms=time_ms, name=name, alias=alias, properties=properties
        )

    def data(self, batch: Batch, now_ms: int, *, is_historical: bool) -> Publication:
        """A batch as DDATA, with the next `seq`."""
        payload = self._templates[batch.bus].encode(
            batch.due_ms - self._offsets[batch.bus],
            batch.values,
            {position: _properties(reason) for position, reason in batch.bad.items()},
            now_ms=now_ms,
            seq=self._next_seq(),
            epoch=batch.epoch,
            batch=batch.number,
            is_historical=is_historical,
        )
        return Publication(f"{self._topic('DDATA')}/{self.plan.buses[batch.bus].bus_id}", payload)


def _properties(reason: Reason) -> dict[str, wire.PropertyValue]:
    return {"Quality": int(REASONS[reason].sparkplug), "Reason": reason.wire_name}


def _ranges(
    metrics: dict[str, wire.CommandMetric], epoch_name: str, ranges_name: str
) -> tuple[int | None, Sequence[int]]:
    epoch, ranges = metrics.get(epoch_name), metrics.get(ranges_name)
    if epoch is None or epoch.long_value is None or ranges is None or ranges.numbers is None:
        return None, ()
    return epoch.long_value, ranges.numbers
