"""The uplink (shell): carries out what the Sparkplug session and the resend schedule decide.

One task owns the session: connection reports, host commands, committed batches and ticks come through one queue.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contracts.errors import ContractError
from contracts.ranges import RangeSet
from contracts.sparkplug.topic import MessageType, StateTopic
from edge_agent.back_off import back_off_s
from edge_agent.channel_table import ChannelTable
from edge_agent.configuration import MqttSettings
from edge_agent.errors import SpoolWriteError
from edge_agent.host_command import (
    AcknowledgeCommand,
    Command,
    RebirthCommand,
    ResendCommand,
    parse_commands,
    parse_host_statement,
)
from edge_agent.mqtt_connection import (
    ConnectionEnded,
    ConnectionReady,
    ConnectionReport,
    MessageArrived,
    MqttConnection,
    Will,
)
from edge_agent.reading_buffer import ReadingBuffer, SealedBatch
from edge_agent.resend_schedule import ASKED_MAX, BatchKey, ResendSchedule
from edge_agent.sparkplug_session import (
    BatchesLost,
    BatchReady,
    ChannelsFound,
    Connected,
    Counters,
    CountersChanged,
    Disconnected,
    EdgeNode,
    Happening,
    HostState,
    LineChanged,
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
from edge_agent.spool_thread import SpoolThread
from edge_agent.store_readings import StoredBatch

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


@dataclass(frozen=True, slots=True)
class _StopAsked:
    pass


_QueueItem = BatchesSealed | _StopAsked | tuple[MqttConnection, ConnectionReport]


class Uplink:
    """Sends batches until the host has acknowledged them."""

    def __init__(
        self,
        node: EdgeNode,
        settings: MqttSettings,
        password_path: Path | None,
        spool: SpoolThread,
        buffer: ReadingBuffer,
        schedule: ResendSchedule,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._node = node
        self._settings = settings
        self._password_path = password_path
        self._spool = spool
        self._buffer = buffer
        self._schedule = schedule
        self._now_ms = now_ms
        self._queue: asyncio.Queue[_QueueItem] = asyncio.Queue()
        self._state = SessionState()
        self._connection: MqttConnection | None = None
        self._bd_seq = 0
        self._attempt = 0
        self._connect_at_s = 0.0
        self._highest_batch = 0
        self._is_stopping = False
        self.rejected_commands_total = 0

    @property
    def channels(self) -> ChannelTable:
        """All channels of this edge node."""
        return self._node.channels

    def put(self, sealed: BatchesSealed) -> None:
        """Takes batches that are committed (or that the disk refused)."""
        self._queue.put_nowait(sealed)

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
            if self._connection is not None:
                await self._connection.close()

    async def _take(self, item: _QueueItem) -> None:
        match item:
            case BatchesSealed():
                self._send_live(item)
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
                _log.info("mqtt_connected host=%s port=%s", self._settings.host, self._settings.port)
                self._attempt = 0
                self._schedule.restart()
                self._happen(Connected(self._bd_seq))
            case ConnectionEnded(why=why):
                _log.warning("mqtt_ended host=%s port=%s why=%r", self._settings.host, self._settings.port, why)
                self._happen(Disconnected())
                self._connection = None
                self._attempt += 1
                wait_s = back_off_s(self._attempt, RECONNECT_FIRST_S, RECONNECT_LONGEST_S, random.random())  # noqa: S311
                self._connect_at_s = time.monotonic() + wait_s
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
                self._reject(topic, "no device of this gateway takes commands")
        except ContractError as error:
            self._reject(topic, str(error))

    def _reject(self, topic: str, why: str) -> None:
        self.rejected_commands_total += 1
        _log.warning("command_rejected topic=%s why=%r total=%d", topic, why, self.rejected_commands_total)

    async def _obey(self, command: Command) -> None:
        match command:
            case RebirthCommand():
                _log.info("rebirth_asked")
                self._happen(RebirthAsked())
            case AcknowledgeCommand(epoch=epoch, batches=batches):
                self._schedule.acknowledge(epoch, batches)
                self._buffer.acknowledge(epoch, batches)
                try:
                    await self._spool.delete(epoch, batches)
                except SpoolWriteError as error:
                    _log.error("spool_delete_failed error=%r", str(error))
            case ResendCommand(epoch=epoch, batches=batches):
                await self._resend_asked(epoch, batches)

    async def _resend_asked(self, epoch: int, batches: RangeSet) -> None:
        """Queues what is there, and says what is not: the host lists it as lost."""
        if epoch > self._node.epoch:
            return
        lost = RangeSet()
        for first, asked_last in list(batches)[:RESEND_RANGES_MAX]:
            last = min(asked_last, self._highest_batch) if epoch == self._node.epoch else asked_last
            if last < first:
                continue
            there = await self._spool.existing(epoch, first, last, ASKED_MAX)
            if there.count >= ASKED_MAX:
                last = max(high for _, high in there)
            for low, high in there.missing(first, last):
                lost.add(low, high)
            self._schedule.ask((epoch, batch) for low, high in there for batch in range(low, high + 1))
        _log.info("resend_asked epoch=%d batches=%d lost=%d", epoch, batches.count, lost.count)
        if lost:
            self._happen(BatchesLost(epoch, lost))

    def _send_live(self, sealed: BatchesSealed) -> None:
        for bus_id, is_up in sealed.line_changes.items():
            if is_up:
                self._happen(LineChanged(bus_id, is_up))
        for batch in sealed.batches:
            self._highest_batch = max(self._highest_batch, batch.batch)
            if self._state.phase is Phase.BORN:
                self._send(batch, is_historical=False)
            else:
                self._schedule.unsent((batch.epoch, batch.batch))
        for bus_id, is_up in sealed.line_changes.items():
            if not is_up:
                self._happen(LineChanged(bus_id, is_up))
        if sealed.counters != self._state.counters:
            self._happen(CountersChanged(sealed.counters))

    def _send(self, batch: SealedBatch, *, is_historical: bool) -> None:
        self._happen(BatchReady(batch, is_historical))
        self._schedule.sent((batch.epoch, batch.batch), time.monotonic(), is_live=not is_historical)

    async def _tick(self) -> None:
        if self._connection is None:
            if time.monotonic() >= self._connect_at_s and not self._is_stopping:
                await self._connect()
        elif self._is_stopping:
            if time.monotonic() >= self._connect_at_s:
                connection, self._connection = self._connection, None
                await connection.close()
        elif self._state.phase is Phase.BORN:
            self._happen(Ticked())
            await self._send_again()

    async def _send_again(self) -> None:
        for key in self._schedule.take_due(time.monotonic()):
            batch = self._buffer.find(*key) or self._seal(await self._spool.read_batch(*key))
            if batch is None:
                self._schedule.gone(key)
            elif self._state.phase is Phase.BORN:
                self._send(batch, is_historical=True)
        count = self._schedule.backlog_count()
        after = self._schedule.backlog_after
        if count and after is not None:
            await self._send_backlog(after, count)

    async def _send_backlog(self, after: BatchKey, count: int) -> None:
        stored = await self._spool.read_batches_after(after, count)
        self._schedule.walked([(one.epoch, one.batch) for one in stored], count)
        for one in stored:
            batch = self._seal(one)
            if batch is not None and not self._schedule.is_watched((one.epoch, one.batch)):
                self._send(batch, is_historical=True)

    def _seal(self, stored: StoredBatch | None) -> SealedBatch | None:
        """A batch from disk with this session's aliases; channels of a former configuration get one now."""
        if stored is None:
            return None
        bus_id, channels = stored.bus_id, self._node.channels
        has_strangers = not all(channels.has(bus_id, node_id, name) for node_id, name, *_ in stored.readings)
        readings = tuple(
            (channels.add(bus_id, node_id, quantity), phenomenon_ns, value, reason)
            for node_id, quantity, phenomenon_ns, value, reason in stored.readings
        )
        if has_strangers:
            self._happen(ChannelsFound(bus_id))
        return SealedBatch(stored.epoch, stored.batch, bus_id, readings)

    def _happen(self, happening: Happening) -> None:
        """Steps the session, and does what it says."""
        self._state, effects = step(self._node, self._state, happening, self._now_ms())
        for effect in effects:
            if self._connection is None:
                return
            if isinstance(effect, Publish):
                self._connection.publish(effect.topic, effect.payload, effect.qos)
            else:
                self._connection.disconnect()

    async def _connect(self) -> None:
        try:
            self._bd_seq = await self._spool.begin_connection()
        except SpoolWriteError as error:
            _log.error("spool_write_failed error=%r", str(error))
            self._connect_at_s = time.monotonic() + RECONNECT_LONGEST_S
            return
        node, settings = self._node, self._settings
        topic_filters = [node_topic(node, MessageType.NCMD), bus_topic(node, MessageType.DCMD, "x")[:-1] + "+"]
        if settings.primary_host is not None:
            topic_filters.append(str(StateTopic(settings.primary_host)))
        self._connection = MqttConnection(
            client_id=node.edge_node_id,
            host=settings.host,
            port=settings.port,
            protocol=settings.protocol,
            keepalive_s=settings.keepalive_s,
            username=settings.username,
            password=self._read_password(),
            will=Will(node_topic(node, MessageType.NDEATH), encode_will(self._bd_seq, self._now_ms())),
            topic_filters=topic_filters,
            report=lambda connection, report: self._queue.put_nowait((connection, report)),
        )

    def _read_password(self) -> str | None:
        if self._password_path is None:
            return None
        try:
            return self._password_path.read_text(encoding="utf-8").strip()
        except OSError as error:
            _log.error("password_unreadable error=%r", str(error))
            return None
