"""A job as a Faust worker (shell): messages of one topic, in order, to a handler; then their offsets are committed.

Faust gives what it is good at: the consumer group, rebalances, fetching, committing. What follows holds beside it,
because faust-streaming 0.15.3 was seen to do otherwise (tests/integration/test_faust_job.py):

- One agent, concurrency 1, one run after another: offsets become durable in order, without a hole. Faust commits beyond
  a hole of one message (`Consumer._new_offset`), which is how concurrency loses one at a crash.
- Nothing leaves the agent. It hands events to an intake and acknowledges none. An error of the handler ends the
  process.
- An event is a run of messages (`faust_consumer`), and what is committed is what the handler has made durable: Faust's
  own acknowledgements (of messages that it skips, fetched before a rebalance) do not count.
- A stream that ends, or a message that is left out, ends the process: it starts again at what is committed.
- No web server, no tables, no reply or leader topics: nothing listens, nothing is created in Kafka.
- What is revoked while `take` works is not waited for: another worker takes it again, and readers skip by offset.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import faust
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.kafka_topic import KafkaTopic
from stream_processor.distributed.faust_consumer import FETCH_BYTES_MAX, DurableTransport, MessageRun
from stream_processor.distributed.job import AssignmentHandler, MessageHandler
from stream_processor.distributed.job_settings import JobSettings
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.watch_progress import WatchThread
from stream_processor.errors import StreamProcessorError
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.job")

EXIT_FAILED: Final = 1
EXIT_WRONG_TOPIC: Final = 2
FAILED_STOP_S: Final = 2.0
"""Faust may need a minute to stop when Kafka was lost (seen): meanwhile nobody scores."""
TICK_S: Final = 1.0
_LOOK_S: Final = 0.2
_DATA_DIRECTORY: Final = Path(tempfile.gettempdir(), f"citysense-faust-{os.getuid()}")
"""Faust insists on one and makes it. Nothing is written there: one for all jobs, so that a killed one leaves none."""
_WAITING_RUNS: Final = 2
"""Runs that Faust holds for us, and as many that the intake holds, beyond what is gathered: they may be large."""


class JobFailedError(StreamProcessorError):
    """The worker cannot go on; it may be started again."""


class WrongTopicError(StreamProcessorError):
    """Permanent: the source topic is not what the configuration says."""


def run_job(
    settings: JobSettings,
    kafka: KafkaSettings,
    source: KafkaTopic,
    build_handler: Callable[[], AbstractAsyncContextManager[MessageHandler]],
) -> int:
    """Runs until SIGTERM or SIGINT (0), or until something fails (1; 2: the topic is not as configured). Blocks."""
    logging.getLogger("faust").setLevel(logging.WARNING)
    logging.getLogger("mode").setLevel(logging.WARNING)
    return asyncio.run(_run(_Job(settings, kafka, source), build_handler))


async def _run(job: _Job, build_handler: Callable[[], AbstractAsyncContextManager[MessageHandler]]) -> int:
    ending = _Ending(job.settings.stop_timeout_s)
    work = asyncio.create_task(job.work(build_handler, ending))
    asked = asyncio.create_task(ending.asked.wait())
    await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    if not work.done():
        job.is_ending = True
        if job.is_pumping:  # it ends by itself, after what is being taken
            await asyncio.wait({work}, timeout=job.settings.stop_timeout_s / 2)
        work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        if job.is_ending:
            return 0
        return EXIT_FAILED  # cancelled from within
    except WrongTopicError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_TOPIC
    except Exception:  # noqa: BLE001  # whatever it is, the process ends with it
        job.tell_failure()
        return EXIT_FAILED
    return 0


class _Ending:
    """SIGTERM and SIGINT. What has not ended in time is ended from a thread, even if the event loop is stuck."""

    def __init__(self, timeout_s: float) -> None:
        self.asked = asyncio.Event()
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._is_armed = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, _frame: object) -> None:
        self.arm(0, self._timeout_s)
        _log.info("stopping signal=%s", signal.Signals(number).name)
        self._loop.call_soon_threadsafe(self.asked.set)

    def arm(self, code: int, within_s: float) -> None:
        """The process ends within a time, and if it has to be made to, with `code`. Only the first call counts."""
        if not self._is_armed:
            self._is_armed = True
            threading.Thread(target=self._end_late, args=(code, within_s), name="ending", daemon=True).start()

    def _end_late(self, code: int, within_s: float) -> None:
        time.sleep(within_s)
        _log.warning("ended_hard after_s=%g", within_s)
        logging.shutdown()
        os._exit(code)


class _Job:
    """Puts Faust's application, the intake and the watchdog together."""

    def __init__(self, settings: JobSettings, kafka: KafkaSettings, source: KafkaTopic) -> None:
        self.settings = settings
        self.is_ending = False
        self.is_pumping = False
        self._has_told = False
        self._kafka = kafka
        self._source = source
        self._intake = _Intake(settings)

    async def work(
        self, build_handler: Callable[[], AbstractAsyncContextManager[MessageHandler]], ending: _Ending
    ) -> None:
        """Until `is_ending`. Raises JobFailedError, WrongTopicError, and whatever the handler raises."""
        await _await_topic(self._kafka, self._source)
        async with build_handler() as handler:
            app = _build_app(self.settings, self._kafka, self._source, self._intake)
            watch = WatchThread(
                self.settings,
                self._kafka,
                self._source,
                lambda: _assigned_partitions(app),
                lambda: handler.waiting_because,
            )
            try:
                await app.start()
                _log.info("job_started group=%s topic=%s", self.settings.group, self._source.name)
                watch.start()
                async with asyncio.TaskGroup() as tasks:
                    guard = tasks.create_task(_guard(app))
                    await self._pump(app, handler)
                    guard.cancel()
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            finally:
                watch.stop()
                if not self.is_ending:
                    self.tell_failure()  # now: the stop may not come to its end
                    ending.arm(EXIT_FAILED, FAILED_STOP_S)
                await app.stop()

    def tell_failure(self) -> None:
        """Logs what is being handled, once."""
        if not self._has_told:
            self._has_told = True
            _log.error("job_failed group=%s", self.settings.group, exc_info=True)

    async def _pump(self, app: Any, handler: MessageHandler) -> None:  # noqa: ANN401  # faust has no types
        self.is_pumping = True
        tick_at_s = time.monotonic() + TICK_S
        assigned: frozenset[int] = frozenset()
        while not self.is_ending:
            gathered = await self._intake.gather()
            if isinstance(handler, AssignmentHandler) and assigned != _assigned_partitions(app):
                assigned = _assigned_partitions(app)
                await handler.take_assignment(assigned)
            # What was fetched before a rebalance comes again, here or at the worker that has its partition now.
            events = [each for each in gathered if _is_current(app, each)]
            if events:
                await handler.take([message for event in events for message in event.value.messages])
                for event in events:
                    app.consumer.mark_durable(event.message)
            if time.monotonic() >= tick_at_s:
                tick_at_s = time.monotonic() + TICK_S
                await handler.tick()


class _Intake:
    """Between Faust's agent and the pump: bounded, in order, without a hole."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        self._events: asyncio.Queue[Any] = asyncio.Queue(maxsize=_WAITING_RUNS)
        self._held: Any = None
        """An event that would have gone beyond the bounds of the last gathering: the first of the next."""
        self._last: dict[int, tuple[object, int]] = {}
        self._fault: str | None = None

    def fail(self, fault: str) -> None:
        """The pump raises it."""
        self._fault = self._fault or fault

    async def put(self, event: Any) -> None:  # noqa: ANN401
        """Waits for room. Between two rebalances no message of a partition may be left out; one may come again."""
        message = event.message
        generation, last = self._last.get(message.partition, (None, -1))
        for each in event.value.messages:
            if generation == message.generation_id and each.offset > last + 1:
                self.fail(f"partition {message.partition}: offset {each.offset} comes after {last}")
            generation, last = message.generation_id, each.offset
        self._last[message.partition] = (generation, last)
        await self._events.put(event)

    async def gather(self) -> Sequence[Any]:
        """What has come: nothing after TICK_S. Raises JobFailedError."""
        first = await self._next(time.monotonic() + TICK_S)
        events = [] if first is None else [first]
        if first is not None:
            await self._gather_after(first.value, events)
        if self._fault is not None:
            raise JobFailedError(self._fault)
        return events

    async def _gather_after(self, run: MessageRun, events: list[Any]) -> None:
        """What comes within the interval and the bounds."""
        deadline_s = time.monotonic() + self._settings.gather_interval_s
        room, byte_room = self._settings.gather_messages, self._settings.gather_bytes
        while True:
            room -= len(run.messages)
            byte_room -= run.byte_count
            if room <= 0 or byte_room <= 0:
                return
            event = await self._next(deadline_s)
            if event is None:
                return
            run = event.value
            if len(run.messages) > room or run.byte_count > byte_room:
                self._held = event
                return
            events.append(event)

    async def _next(self, deadline_s: float) -> Any:  # noqa: ANN401
        if self._held is not None:
            event, self._held = self._held, None
            return event
        if not self._events.empty():
            return self._events.get_nowait()
        if deadline_s <= time.monotonic():
            return None
        try:
            async with asyncio.timeout(deadline_s - time.monotonic()):
                return await self._events.get()
        except TimeoutError:
            return None


def _build_app(settings: JobSettings, kafka: KafkaSettings, source: KafkaTopic, intake: _Intake) -> Any:  # noqa: ANN401
    app = faust.App(
        settings.group,
        broker=";".join(f"kafka://{server}" for server in kafka.servers),
        autodiscover=False,
        broker_commit_interval=settings.commit_interval_s,
        broker_heartbeat_interval=settings.session_timeout_s / 4,
        broker_request_timeout=max(90.0, settings.session_timeout_s),
        broker_session_timeout=settings.session_timeout_s,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=settings.worker,
        consumer_max_fetch_size=FETCH_BYTES_MAX,
        datadir=_DATA_DIRECTORY,
        processing_guarantee="at_least_once",
        store="memory://",
        stream_buffer_maxsize=_WAITING_RUNS,
        stream_wait_empty=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
    )
    app.transport = DurableTransport(app.conf.broker_consumer, app, settings)
    topic = app.topic(source.name, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw")

    @app.agent(topic, concurrency=1, name=f"{settings.group}.intake")
    async def _agent(stream: Any) -> None:  # noqa: ANN401
        async for event in stream.noack().events():
            await intake.put(event)
        intake.fail("the stream has ended")

    return app


async def _guard(app: Any) -> None:  # noqa: ANN401
    """Raises JobFailedError when Faust has given up: it does not end by itself. Tells which partitions we have."""
    known: frozenset[int] = frozenset()
    while True:
        await asyncio.sleep(_LOOK_S)
        if (assigned := _assigned_partitions(app)) != known:
            known = assigned
            _log.info("partitions_assigned partitions=%s", ",".join(map(str, sorted(assigned))) or "none")
        if app.crashed or app.consumer.crashed:
            raise JobFailedError("Faust crashed") from app.crash_reason
        if app.should_stop:
            raise JobFailedError("Faust stopped")


async def _await_topic(kafka: KafkaSettings, source: KafkaTopic) -> None:
    """Waits for Kafka and the topic, which Faust would not notice later. Raises WrongTopicError."""
    while True:
        try:
            with foreign_cancellation_as_error("asking Kafka for its topics"):
                count = await _count_partitions(kafka, source)
        except (KafkaError, OSError) as error:
            _log.warning("kafka_waiting servers=%s error=%r", ",".join(kafka.servers), error)
        else:
            if count == kafka.partitions:
                return
            if count is not None:
                raise WrongTopicError(
                    f"topic {source.name} has {count} partitions, $.kafka.partitions is {kafka.partitions}"
                )
            _log.warning("topic_missing topic=%s hint='make the topics with broker-config'", source.name)
        await asyncio.sleep(min(2.0, kafka.retry_max_s))


async def _count_partitions(kafka: KafkaSettings, source: KafkaTopic) -> int | None:
    """None: there is no such topic. Asks for all topics: asking for one by name might make it."""
    timeout_ms = round(1_000 * kafka.request_timeout_s)
    admin = AIOKafkaAdminClient(bootstrap_servers=list(kafka.servers), request_timeout_ms=timeout_ms)
    try:
        await admin.start()
        if source.name not in await admin.list_topics():
            return None
        described = await admin.describe_topics([source.name])
        return len(described[0]["partitions"])
    finally:
        await admin.close()


def _assigned_partitions(app: Any) -> frozenset[int]:  # noqa: ANN401
    """Called from the watchdog's thread: reads one reference."""
    return frozenset(place.partition for place in app._assignment or ())  # noqa: SLF001  # Faust tells it nowhere else


def _is_current(app: Any, event: Any) -> bool:  # noqa: ANN401
    return bool(event.message.generation_id == app.consumer_generation_id)
