"""Runs a load (shell): the clock, the connections, the ledger and the signals of a fleet in one process.

Open loop: each batch has its due time from the start on, and is made as soon as it is due, however far behind the
process, the broker or the host are. How late it was made is counted, the schedule never waits.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from random import Random
from typing import Final

from simulators.errors import LoadError, WireError
from simulators.load_connection import Broker, Listener, LoadConnection
from simulators.load_fleet import LoadPlan, condition_id
from simulators.load_gateway import LoadGateway, Outbox
from simulators.load_ledger import BatchRow, LoadLedger
from simulators.load_report import LoadFigures
from simulators.load_signal import BusSignal
from simulators.load_spool import Batch, LoadSpool, SpoolAllowance

TICK_S: Final = 0.1
POLL_S: Final = 0.02
PAUSE_MAX_S: Final = 0.2
"""A signal, and what is due beside batches, is seen within this time."""
PASS_BATCHES_MAX: Final = 100
"""So many batches are made before the sockets get their turn."""
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_LONGEST_S: Final = 15.0
BACK_OFF_JITTER: Final = 0.3
"""As the agents': a fleet does not come back all at once."""
DEAD_FOR_S: Final = 5.0
"""A killed gateway starts again after this."""
TEND_S: Final = 1.0
PROGRESS_S: Final = 10.0
FAREWELL_S: Final = 1.0

_log = logging.getLogger(__name__)

Login = Callable[[str], tuple[str, str] | None]
"""User name and password of a gateway, or None: anonymous."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a load runs."""

    broker: Broker
    login: Login
    primary_host: Callable[[str], str | None] = lambda _: None
    """Of the gateways of a district; None: they wait for nobody."""
    duration_s: float | None = None
    """None: until a signal."""
    drain_s: float = 60.0
    """How long the last acknowledgements are waited for; 0: nobody acknowledges."""
    born_within_s: float = 60.0
    """Readings are made when all gateways are born, or after this if only some are."""
    bad_share: float = 0.002
    herd_every_s: float = 0.0
    herd_share: float = 0.3
    death_every_s: float = 0.0
    breach_every_s: float = 0.0
    backlog_share: float = 0.0
    backlog_age_s: float = 60.0
    resend_after_s: float = 10.0
    backlog_batches_per_s: float = 50.0
    spool_readings_max: int = 20_000_000
    seed: int = 5


class _Line:
    """A gateway and its connection."""

    def __init__(self, number: int, gateway: LoadGateway, signals: list[BusSignal]) -> None:
        self.number = number
        self.gateway = gateway
        self.signals = signals
        self.connection: LoadConnection | None = None
        self.attempt = 0
        self.is_ready = False
        """CONNACK and SUBACK of this connection came."""
        self.is_cut = False
        """We cut this connection ourselves."""
        self.connect_at_s = 0.0
        self.dead_until_s = 0.0
        self.tend_at_s = 0.0
        self.breaches: dict[tuple[int, int], float] = {}
        """Values of breaches that begin with the next batch, by bus and position."""

    def publish(self, outbox: Outbox) -> None:
        """Without a connection it is lost, as on any wire."""
        if self.connection is not None:
            for publication in outbox:
                self.connection.publish(publication)


class LoadRun:
    """One run of a fleet."""

    def __init__(self, plan: LoadPlan, settings: RunSettings, ledger: LoadLedger | None, begun_ns: int) -> None:
        self.figures = LoadFigures(len(plan.gateways), plan.channel_count, plan.options.rate_per_s)
        self._plan = plan
        self._settings = settings
        self._ledger = ledger
        self._chance = Random(settings.seed)  # noqa: S311  # a simulation
        allowance = SpoolAllowance(settings.spool_readings_max)
        self._allowance = allowance
        epoch = begun_ns // 1_000_000_000
        self._lines = [
            _Line(
                number,
                LoadGateway(
                    gateway,
                    plan.offsets_ms,
                    LoadSpool(allowance, settings.resend_after_s, settings.backlog_batches_per_s),
                    epoch,
                    settings.primary_host(gateway.district_id),
                    self.figures.counters,
                ),
                [BusSignal(bus, self._chance.getrandbits(63), settings.bad_share) for bus in gateway.buses],
            )
            for number, gateway in enumerate(plan.gateways)
        ]
        by_bus = zip_longest(*([(line, bus) for bus in range(len(line.gateway.plan.buses))] for line in self._lines))
        self._slots = [slot for row in by_bus for slot in row if slot is not None]
        sizes = [line.gateway.plan.buses[bus].channel_count for line, bus in self._slots]
        self._phases_s = [before / plan.options.rate_per_s for before in accumulate(sizes, initial=0)]
        self._stop = asyncio.Event()
        self._is_saying_farewell = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> LoadFigures:
        """Until the duration is over and all is acknowledged, or a signal."""
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._stop.set)
        tending = asyncio.create_task(self._tend())
        try:
            await self._until_born()
            begun_cpu_s, begun_s = time.process_time(), time.monotonic()
            await self._make(begun_s)
            self.figures.made_s = time.monotonic() - begun_s
            await self._drain()
            self.figures.cpu_s = time.process_time() - begun_cpu_s
            await self._say_farewell()
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
        self.figures.unacknowledged_batches = sum(len(line.gateway.spool) for line in self._lines)
        self.figures.unacknowledged_readings = self._allowance.readings
        return self.figures

    # --- readings ----------------------------------------------------------------------------------------------------

    async def _make(self, begun_s: float) -> None:
        settings = self._settings
        wall_ms = time.time_ns() // 1_000_000
        end_s = float("inf") if settings.duration_s is None else begun_s + settings.duration_s
        faults = _Faults(
            begun_s,
            (
                (settings.herd_every_s, self._cut_herd),
                (settings.death_every_s, self._kill_gateway),
                (settings.breach_every_s, self._begin_breach),
            ),
        )
        count, progress_s = 0, begun_s + PROGRESS_S
        due_s = begun_s
        while not self._stop.is_set() and ((now_s := time.monotonic()) < end_s or due_s < end_s):
            faults.inflict(now_s)
            if now_s >= progress_s:
                progress_s += PROGRESS_S
                self._log_progress(now_s - begun_s)
            made: list[BatchRow] = []
            while due_s <= now_s and due_s < end_s and len(made) < PASS_BATCHES_MAX:
                self._make_batch(count, wall_ms + int(1_000 * (due_s - begun_s)), due_s, made)
                count += 1
                due_s = begun_s + self._due_after_s(count)
            self._send(made)
            await asyncio.sleep(max(0.0, min(due_s, end_s, now_s + PAUSE_MAX_S) - now_s))

    def _due_after_s(self, count: int) -> float:
        """When the batch with this number is due: a batch of many readings takes its share of the time."""
        cycle, slot = divmod(count, len(self._slots))
        return cycle * self._plan.interval_s + self._phases_s[slot]

    def _make_batch(self, count: int, due_ms: int, due_s: float, made: list[BatchRow]) -> None:
        line, bus = self._slots[count % len(self._slots)]
        now_s = time.monotonic()
        if now_s < line.dead_until_s:
            self.figures.unmade_batches += 1
            return
        self.figures.note_late(now_s - due_s)
        values, bad = line.signals[bus].next()
        made.append((line.number, line.gateway.make(bus, due_ms, values, bad, due_s)))
        if line.breaches:
            self._note_breaches(line, bus, due_ms)

    def _note_breaches(self, line: _Line, bus: int, due_ms: int) -> None:
        channels = list(line.gateway.plan.buses[bus].channels())
        offsets_ms = self._plan.offsets_ms(len(channels))
        for (at_bus, position), value in list(line.breaches.items()):
            if at_bus != bus:
                continue
            del line.breaches[at_bus, position]
            self.figures.breaches += 1
            node_id, kind = channels[position]
            assert kind.condition is not None  # only such channels breach
            if self._ledger is not None:
                name = condition_id(node_id, kind.condition)
                self._ledger.note_breach((name, node_id, kind.quantity, value, due_ms - offsets_ms[position]))

    def _send(self, made: list[BatchRow]) -> None:
        """Into the ledger first, then into the spools, then to the broker."""
        if self._ledger is not None:
            self._ledger.commit(made)
        now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
        share = self._settings.backlog_share
        for number, batch in made:
            line = self._lines[number]
            if self._settings.drain_s > 0:
                self._keep(line, batch)
                if share and self._chance.random() < share:
                    line.gateway.spool.hold(batch, now_s + self._settings.backlog_age_s)
                    continue
            is_full = line.connection is None or line.connection.is_full
            line.publish(line.gateway.send_live(batch, now_ms, now_s, is_full=is_full))

    def _keep(self, line: _Line, batch: Batch) -> None:
        discarded = line.gateway.keep(batch)
        if self._ledger is not None:
            self._ledger.note_discarded(line.number, discarded)

    def _log_progress(self, after_s: float) -> None:
        counters = self.figures.counters
        _log.info(
            "load_progress after_s=%.0f readings=%d acknowledged=%d waiting=%d late_over_1s=%d born=%d",
            after_s,
            counters.made_readings,
            counters.acknowledged_readings,
            self._allowance.readings,
            sum(self.figures.late_batches[-2:]),
            sum(line.gateway.is_born for line in self._lines),
        )

    # --- sessions ----------------------------------------------------------------------------------------------------

    async def _until_born(self) -> None:
        def is_over() -> bool:
            return self._stop.is_set() or all(line.gateway.is_born for line in self._lines)

        if await self._until(is_over, self._settings.born_within_s):
            return
        born = sum(line.gateway.is_born for line in self._lines)
        _log.warning("load_not_all_born born=%d of=%d", born, len(self._lines))
        if not born:
            why = self.figures.last_refusal or "is the primary host online?"
            raise LoadError(f"no gateway was born within {self._settings.born_within_s:g} s: {why}")

    @staticmethod
    async def _until(is_so: Callable[[], bool], within_s: float) -> bool:
        """Whether it came to be so in time."""
        deadline_s = time.monotonic() + within_s
        while not is_so():
            if time.monotonic() >= deadline_s:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _tend(self) -> None:
        """Connections that are due, pings, and what is to be sent again."""
        while True:
            now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
            for line in self._lines:
                if line.connection is None:
                    if now_s >= line.connect_at_s and not self._is_saying_farewell:
                        self._connect(line, now_ms)
                    continue
                if now_s >= line.tend_at_s:
                    line.tend_at_s = now_s + TEND_S
                    line.connection.tend()
                if self._settings.drain_s and line.gateway.is_born and not line.connection.is_full:
                    line.publish(line.gateway.send_again(now_ms, now_s))
            if self._ledger is not None:
                self._ledger.commit(())
            await asyncio.sleep(TICK_S)

    def _connect(self, line: _Line, now_ms: int) -> None:
        gateway = line.gateway
        will = gateway.begin_connection(now_ms)
        connection = LoadConnection(
            self._settings.broker,
            gateway.plan.gateway_id,
            self._settings.login(gateway.plan.gateway_id),
            will,
            gateway.topic_filters,
            Listener(
                ready=lambda: self._ready(line, connection),
                ended=lambda why: self._ended(line, connection, why),
                heard=lambda topic, payload: self._heard(line, connection, topic, payload),
            ),
        )
        line.connection = connection
        task = asyncio.create_task(connection.open())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ready(self, line: _Line, connection: LoadConnection) -> None:
        if line.connection is not connection:
            return
        line.attempt = 0
        line.is_ready = True
        self.figures.connections += 1
        line.publish(line.gateway.connected(time.time_ns() // 1_000_000, time.monotonic()))

    def _ended(self, line: _Line, connection: LoadConnection, why: str) -> None:
        if line.connection is not connection:
            return
        if not line.is_ready:
            self.figures.refused_connections += 1
            self.figures.last_refusal = why
        elif line.is_cut:
            self.figures.cut_connections += 1
        elif not self._is_saying_farewell:
            self.figures.lost_connections += 1
        line.connection = None
        line.is_ready = line.is_cut = False
        line.gateway.disconnected()
        line.attempt += 1
        back_off_s = min(BACK_OFF_FIRST_S * 2.0 ** min(line.attempt - 1, 30), BACK_OFF_LONGEST_S)
        wait_s = back_off_s * (1.0 - BACK_OFF_JITTER * self._chance.random())
        line.connect_at_s = max(time.monotonic() + wait_s, line.dead_until_s)

    def _heard(self, line: _Line, connection: LoadConnection, topic: str, payload: bytes) -> None:
        if line.connection is not connection:
            return
        now_ms, now_s = time.time_ns() // 1_000_000, time.monotonic()
        if "/STATE/" in topic:
            outbox, must_leave = line.gateway.hear_state(payload, now_ms, now_s)
            line.publish(outbox)
            if must_leave:
                connection.disconnect()
            return
        try:
            outbox, acknowledged = line.gateway.hear_command(payload, now_ms, now_s)
        except WireError as error:
            self.figures.counters.refused_commands += 1
            _log.warning("load_command_refused topic=%s why=%r", topic, str(error))
            return
        line.publish(outbox)
        self.figures.acknowledged_after_s.extend(now_s - batch.made_s for batch in acknowledged)
        if self._ledger is not None:
            self._ledger.note_acknowledged(line.number, acknowledged, time.time_ns())

    # --- faults ------------------------------------------------------------------------------------------------------

    def _cut_herd(self) -> None:
        """A share of the fleet loses its connections in one moment, and comes back as agents do."""
        connected = [line for line in self._lines if line.gateway.is_born]
        for line in self._chance.sample(connected, round(len(connected) * self._settings.herd_share)):
            self._cut(line)

    def _kill_gateway(self) -> None:
        """One gateway dies without a word; it starts again later, with the next epoch and what its spool held."""
        alive = [line for line in self._lines if line.gateway.is_born]
        if not alive:
            return
        line = self._chance.choice(alive)
        self.figures.deaths += 1
        line.dead_until_s = time.monotonic() + DEAD_FOR_S
        self._cut(line)
        line.gateway.restart()

    def _begin_breach(self) -> None:
        """A channel with a condition exceeds its set-point."""
        line = self._chance.choice(self._lines)
        bus = self._chance.randrange(len(line.signals))
        positions = list(line.signals[bus].set_points)
        if positions:
            position = self._chance.choice(positions)
            line.breaches[bus, position] = line.signals[bus].begin_breach(position)

    def _cut(self, line: _Line) -> None:
        if line.connection is not None:
            line.is_cut = True
            line.connection.cut()

    # --- the end -----------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        await self._until(lambda: self._allowance.readings == 0 or self._stop.is_set(), self._settings.drain_s)

    async def _say_farewell(self) -> None:
        self._is_saying_farewell = True
        now_ms = time.time_ns() // 1_000_000
        for line in self._lines:
            if line.connection is not None:
                line.publish(line.gateway.farewell(now_ms))
                line.connection.disconnect()
        await self._until(lambda: all(line.connection is None for line in self._lines), FAREWELL_S)


class _Faults:
    """When herds, deaths and breaches are due: every so many seconds, 0 for never."""

    def __init__(self, begun_s: float, rows: Sequence[tuple[float, Callable[[], None]]]) -> None:
        self._rows = [(every_s, act) for every_s, act in rows if every_s > 0]
        self._due_s = [begun_s + every_s for every_s, _ in self._rows]

    def inflict(self, now_s: float) -> None:
        """Does what is due."""
        for index, (every_s, act) in enumerate(self._rows):
            if now_s >= self._due_s[index]:
                self._due_s[index] += every_s
                act()
