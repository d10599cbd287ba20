"""The uplink (shell): carries out what the Sparkplug session and the resend schedule decide.

One task owns the session: connection reports, host commands, committed batches and ticks come through one queue.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from contracts.errors import ContractError
from contracts.ranges import RangeSet
from contracts.sparkplug.topic import MessageType, StateTopic
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import ChannelTable
from edge_agent.errors import CredentialError, SpoolWriteError
from edge_agent.settings.flow_log import FlowLog
from edge_agent.settings.uplink_settings import MqttSettings
from edge_agent.spool.reading_buffer import ReadingBuffer, SealedBatch
from edge_agent.spool.spool_thread import SpoolThread
from edge_agent.spool.store_readings import StoredBatch
from edge_agent.uplink.broker_link import BrokerLink
from edge_agent.uplink.host_command import (
    AcknowledgeCommand,
    Command,
    RebirthCommand,
    RereadCommand,
    ResendCommand,
    parse_commands,
    parse_host_statement,
    parse_writes,
)
from edge_agent.uplink.mqtt_connection import (
    ConnectionEnded,
    ConnectionReady,
    ConnectionReport,
    MessageArrived,
    MqttConnection,
    Will,
)
from edge_agent.uplink.obey_host import HostOrders
from edge_agent.uplink.resend_schedule import ASKED_MAX, BatchKey, ResendSchedule
from edge_agent.uplink.sparkplug_session import (
    ActuatorSet,
    BatchesLost,
    BatchReady,
    ChannelsFound,
    CommandAnswered,
    Connected,
    Counters,
    CountersChanged,
    Disconnected,
    EdgeNode,
    Happening,
    HostState,
    LineChanged,
    LineWithdrawn,
    Phase,
    Publish,
    RebirthAsked,
    SessionState,
    Stopped,
    Ticked,
    bus_topic,
    encode_will,
    node_topic,
    step,
)

TICK_S: Final = 0.1
RECONNECT_FIRST_S: Final = 0.5
RECONNECT_LONGEST_S: Final = 15.0
STOP_PATIENCE_S: Final = 1.0
RESEND_RANGES_MAX: Final = 1_000
"""Ranges of one resend command that are looked at; the host asks again for the rest."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchesSealed:
    """Batches to send for the first time, and lines that changed with them."""

    batches: list[SealedBatch]
    line_changes: dict[str, bool]
    counters: Counters
    epoch: int
    """Of batches that are sealed from now on; another one than before if the spool had to begin another file."""
    late: Sequence[BatchKey] = ()
    """Handed on before, and on disk only now."""


@dataclass(frozen=True, slots=True)
class _StopAsked:
    pass


Told = CommandAnswered | ActuatorSet | LineWithdrawn | ChannelsFound
"""What the host is to learn beside readings."""
_QueueItem = BatchesSealed | _StopAsked | Told | asyncio.Event | tuple[MqttConnection, ConnectionReport]


class Uplink:
    """Sends batches until the host has acknowledged them."""

    def __init__(
        self,
        node: EdgeNode,
        settings: MqttSettings,
        link: BrokerLink,
        spool: SpoolThread,
        buffer: ReadingBuffer,
        schedule: ResendSchedule,
        orders: HostOrders,
        answer: str | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._node = node
        self._settings = settings
        self._link = link
        self._spool = spool
        self._buffer = buffer
        self._schedule = schedule
        self._orders = orders
        self._now_ms = now_ms
        self._queue: asyncio.Queue[_QueueItem] = asyncio.Queue()
        self._state = SessionState(answer=answer)
        self._connection: MqttConnection | None = None
        self._bd_seq = 0
        self._attempt = 0
        self._connect_at_s = 0.0
        self._highest_batch = 0
        self._told_given_up: tuple[int, ...] = ()
        self._send_again_s = 0.0
        self._acknowledged: dict[int, RangeSet] = {}
        self._delete_s = 0.0
        self._is_stopping = False
        self.rejected_commands_total = 0
        self.flows = FlowLog()
        """What data come at all: by it a new configuration is judged."""

    @property
    def channels(self) -> ChannelTable:
        """All channels of this edge node."""
        return self._node.channels

    def put(self, sealed: BatchesSealed) -> None:
        """Takes batches that are committed (or that the disk refused)."""
        self._queue.put_nowait(sealed)

    def tell(self, what: Told) -> None:
        """What became of a host's command, or of the lines; after the batches that were handed on before."""
        self._queue.put_nowait(what)

    async def catch_up(self) -> None:
        """Waits until all that was put or told before is done with."""
        done = asyncio.Event()
        self._queue.put_nowait(done)
        await done.wait()

    def stop(self) -> None:
        """Sends the death and ends `run`."""
        self._queue.put_nowait(_StopAsked())

    async def run(self) -> None:
        """Until `stop`."""
        try:
            while not (self._is_stopping and self._connection is None):
                try:
                    async with asyncio.timeout(TICK_S):
                        item: _QueueItem | None = await self._queue.get()
                except TimeoutError:
                    item = None
                if item is not None:
                    await self._take(item)
                await self._tick()
        finally:
            await self._delete_acknowledged()
            if self._connection is not None:
                await self._connection.close()

    async def _take(self, item: _QueueItem) -> None:
        match item:
            case BatchesSealed():
                self._send_live(item)
            case CommandAnswered() | ActuatorSet() | LineWithdrawn() | ChannelsFound():
                self._happen(item)
            case asyncio.Event():
                item.set()
            case _StopAsked():
                self._is_stopping = True
                self._connect_at_s = time.monotonic() + STOP_PATIENCE_S
                self._happen(Stopped())
                if self._connection is not None:
                    self._connection.disconnect()
            case (connection, report):
                if connection is self._connection:
                    await self._take_report(connection, report)

    async def _take_report(self, connection: MqttConnection, report: ConnectionReport) -> None:
        match report:
            case ConnectionReady():
                self._attempt = 0
                self._schedule.restart()
                self._told_given_up = ()
                self._schedule.ask(batch.key for batch in self._buffer.sealed())
                self._happen(Connected(self._bd_seq, self._link.ready()))
            case ConnectionEnded():
                self._link.ended(report)
                self._happen(Disconnected())
                self._connection = None
                self._retry_later()
                await connection.close()
            case MessageArrived(topic=topic, payload=payload):
                await self._take_message(topic, payload)

    async def _take_message(self, topic: str, payload: bytes) -> None:
        try:
            if topic == node_topic(self._node, MessageType.NCMD):
                for command in parse_commands(payload):
                    await self._obey(command)
            elif self._settings.primary_host and topic == str(StateTopic(self._settings.primary_host)):
                statement = parse_host_statement(payload)
                self._happen(HostState(statement.is_online, statement.timestamp_ms))
            else:
                bus_id = topic.rpartition("/")[2]
                self._count_refused(topic, self._orders.write(bus_id, parse_writes(payload)))
        except ContractError as error:
            self._reject(topic, str(error))

    def _count_refused(self, topic: str, count: int) -> None:
        if count:
            self._reject(topic, f"{count} commands more than may wait")

    def _reject(self, topic: str, why: str) -> None:
        self.rejected_commands_total += 1
        _log.warning("command_rejected topic=%s why=%r total=%d", topic, why, self.rejected_commands_total)

    async def _obey(self, command: Command) -> None:
        match command:
            case RereadCommand():
                self._count_refused("NCMD", self._orders.reread())
            case RebirthCommand():
                _log.info("rebirth_asked")
                self._happen(RebirthAsked())
            case AcknowledgeCommand(epoch=epoch, batches=batches):
                self.flows.note_acknowledgement(time.monotonic())
                self._schedule.acknowledge(epoch, batches, time.monotonic())
                self._buffer.acknowledge(epoch, batches)
                acknowledged = self._acknowledged.setdefault(epoch, RangeSet())
                for first, last in batches:
                    acknowledged.add(first, last)
            case ResendCommand(epoch=epoch, batches=batches):
                await self._resend_asked(epoch, batches)

    async def _delete_acknowledged(self) -> None:
        """Deletes what was acknowledged since the last time: many acknowledgements, one fsync."""
        acknowledged, self._acknowledged = self._acknowledged, {}
        for epoch, batches in acknowledged.items():
            try:
                await self._spool.delete(epoch, batches)
            except SpoolWriteError as error:
                _log.error("spool_delete_failed error=%r", str(error))

    async def _resend_asked(self, epoch: int, batches: RangeSet) -> None:
        """Queues what is there, and says what is not: the host lists it as lost."""
        if epoch > self._node.epoch:
            return
        lost = RangeSet()
        for first, asked_last in list(batches)[:RESEND_RANGES_MAX]:
            last = min(asked_last, self._highest_batch) if epoch == self._node.epoch else asked_last
            if last < first:
                continue
            try:
                there = await self._spool.existing(epoch, first, last, ASKED_MAX)
            except SpoolWriteError as error:
                _log.error("spool_read_failed error=%r", str(error))
                return
            if there.count >= ASKED_MAX:
                last = max(high for _, high in there)
            for batch in self._buffer.sealed():
                if batch.epoch == epoch and first <= batch.batch <= last:
                    there.add(batch.batch)
            for low, high in there.missing(first, last):
                lost.add(low, high)
            self._schedule.ask((epoch, batch) for low, high in there for batch in range(low, high + 1))
        _log.info("resend_asked epoch=%d batches=%d lost=%d", epoch, batches.count, lost.count)
        if lost and not self._spool.is_salvaging:
            self._happen(BatchesLost(epoch, lost))

    def _send_live(self, sealed: BatchesSealed) -> None:
        self._begin_epoch(sealed.epoch)
        for bus_id, is_up in sealed.line_changes.items():
            if is_up:
                self._happen(LineChanged(bus_id, is_up))
        for batch in sealed.batches:
            self._highest_batch = max(self._highest_batch, batch.batch)
            self.flows.note_batch(batch.bus_id, batch.readings, time.monotonic())
            if self._state.phase is Phase.BORN and not batch.waveforms:
                self._send(batch, is_historical=batch.is_historical)
            else:
                self._schedule.unsent(batch.key)
        for bus_id, is_up in sealed.line_changes.items():
            if not is_up:
                self._happen(LineChanged(bus_id, is_up))
        self._schedule.committed_late(sealed.late)
        if sealed.counters != self._state.counters:
            self._happen(CountersChanged(sealed.counters))

    def _begin_epoch(self, epoch: int) -> None:
        """If the spool has begun another file, a birth says so."""
        if epoch == self._node.epoch:
            return
        self._node = replace(self._node, epoch=epoch)
        self._highest_batch = 0
        self._happen(RebirthAsked())

    def _send(self, batch: SealedBatch, *, is_historical: bool) -> None:
        size_bytes = self._happen(BatchReady(batch, is_historical))
        self._schedule.sent(batch.key, time.monotonic(), is_live=not is_historical, size_bytes=size_bytes)

    async def _tick(self) -> None:
        if self._acknowledged and time.monotonic() >= self._delete_s:
            self._delete_s = time.monotonic() + TICK_S
            await self._delete_acknowledged()
        if self._connection is None:
            if time.monotonic() >= self._connect_at_s and not self._is_stopping:
                await self._connect()
        elif self._is_stopping:
            if time.monotonic() >= self._connect_at_s:
                connection, self._connection = self._connection, None
                await connection.close()
        else:
            self._happen(Ticked())
            if self._state.phase is Phase.BORN:
                await self._send_again()

    async def _send_again(self) -> None:
        """What goes out behind the live batches: what is asked for or late, what is urgent, then the rest."""
        if time.monotonic() < self._send_again_s:
            return
        self._send_again_s = time.monotonic() + TICK_S
        try:
            for key in self._schedule.take_due(time.monotonic()):
                await self._send_due(key)
            await self._tell_lost()
            await self._send_urgent_backlog()
            await self._send_backlog()
        except SpoolWriteError as error:
            self._send_again_s = time.monotonic() + RECONNECT_FIRST_S
            _log.error("spool_read_failed error=%r", str(error))

    async def _tell_lost(self) -> None:
        """Once a session, and whenever there are more: what the spool had to drop, or found damaged."""
        given_up = self._spool.tally[1:]
        if given_up == self._told_given_up:
            return
        for epoch, batches in await self._spool.lost():
            self._happen(BatchesLost(epoch, batches))
        self._told_given_up = given_up

    async def _send_due(self, key: BatchKey) -> None:
        batch = self._buffer.find(*key)
        if batch is None:
            stored = await self._spool.read_batch(*key)
            if stored is None:
                self._schedule.gone(key)
                return
            batch = self._seal(stored)
        if self._state.phase is Phase.BORN:
            self._send(batch, is_historical=True)

    async def _send_urgent_backlog(self) -> None:
        count, before = self._schedule.backlog_count(), self._schedule.urgent_before
        if count and before is not None:
            stored = await self._spool.read_urgent_before(before, count)
            self._schedule.walked_urgent([one.key for one in stored], count)
            self._send_stored(stored)

    async def _send_backlog(self) -> None:
        count, after = self._schedule.backlog_count(), self._schedule.backlog_after
        if count and after is not None:
            stored = await self._spool.read_batches_after(after, count, self._schedule.watched_after(after))
            self._schedule.walked([one.key for one in stored], count)
            self._send_stored(stored)

    def _send_stored(self, stored: Sequence[StoredBatch]) -> None:
        """What is committed and not yet handed on is no history: it is about to come as live."""
        newest = (self._node.epoch, self._highest_batch)
        for one in stored:
            if one.key <= newest and not self._schedule.is_watched(one.key):
                self._send(self._seal(one), is_historical=True)

    def _seal(self, stored: StoredBatch) -> SealedBatch:
        """A batch from disk with this session's aliases; channels of a former configuration get one now."""
        if stored.waveforms:
            return self._seal_waveforms(stored)
        bus_id = stored.bus_id
        aliases = self._aliases(bus_id, [(node_id, quantity) for node_id, quantity, *_ in stored.readings])
        readings = tuple(
            (alias, phenomenon_ns, value, reason)
            for alias, (_, _, phenomenon_ns, value, reason) in zip(aliases, stored.readings, strict=True)
        )
        return SealedBatch(stored.epoch, stored.batch, bus_id, readings, stored.thinned_count, stored.is_urgent)

    def _seal_waveforms(self, stored: StoredBatch) -> SealedBatch:
        """The same for a batch of waveforms."""
        bus_id = stored.bus_id
        aliases = self._aliases(bus_id, [(node_id, quantity) for node_id, quantity, _ in stored.waveforms])
        blocks = tuple(
            block._replace(alias=alias) for alias, (_, _, block) in zip(aliases, stored.waveforms, strict=True)
        )
        return SealedBatch(stored.epoch, stored.batch, bus_id, (), stored.thinned_count, waveforms=blocks)

    def _aliases(self, bus_id: str, names: Sequence[tuple[str, str]]) -> list[int]:
        aliases, has_strangers = self._node.channels.add_all(bus_id, names)
        if has_strangers:
            self._happen(ChannelsFound(bus_id))
        return aliases

    def _happen(self, happening: Happening) -> int:
        """Steps the session, and does what it says; gives how many bytes of payload went out."""
        self._state, effects = step(self._node, self._state, happening, self._now_ms())
        size_bytes = 0
        for effect in effects:
            if self._connection is None:
                break
            if isinstance(effect, Publish):
                self._connection.publish(effect.topic, effect.payload, effect.qos)
                size_bytes += len(effect.payload)
            else:
                self._connection.disconnect()
        return size_bytes

    async def _connect(self) -> None:
        self._bd_seq = await self._spool.begin_connection()
        node, settings = self._node, self._settings
        topic_filters = [node_topic(node, MessageType.NCMD), bus_topic(node, MessageType.DCMD, "x")[:-1] + "+"]
        if settings.primary_host is not None:
            topic_filters.append(str(StateTopic(settings.primary_host)))
        will = Will(node_topic(node, MessageType.NDEATH), encode_will(self._bd_seq, self._now_ms()))
        try:
            self._connection = self._link.open(node.edge_node_id, will, topic_filters, self._take_later)
        except CredentialError as error:
            _log.error("credentials_unusable broker=%s error=%r", self._link.name, str(error))
            self._retry_later()

    def _take_later(self, connection: MqttConnection, report: ConnectionReport) -> None:
        self._queue.put_nowait((connection, report))

    def _retry_later(self) -> None:
        self._attempt += 1
        wait_s = back_off_s(self._attempt, RECONNECT_FIRST_S, RECONNECT_LONGEST_S, random.random())  # noqa: S311
        self._connect_at_s = time.monotonic() + wait_s
