"""The score job's process (shell): `observations` → scores, conditions, ledger → the topics that follow.

For each message of a partition exactly one of `observations.scored`. All that follows from a set of messages is durable
in Kafka before their offsets are committed; after a crash it may be written twice, with the same source offset.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final

from pydantic import Field

from contracts.configuration import Settings
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS
from contracts.record import Record
from contracts.record_message import ObservationMessage
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings, KafkaName
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.distributed.outcome_messages import messages_of
from stream_processor.distributed.partition_state import Outcome, PartitionState
from stream_processor.distributed.restore_partition import PartitionRestorer
from stream_processor.distributed.state_snapshot import split_snapshot, turn_of
from stream_processor.fleet_index import restrict_fleet
from stream_processor.refit_forest import ForestRefitter
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.score")

CLIENT_ID: Final = "citysense-score"


class ScoreSettings(Settings):
    """Table [score]."""

    fleet_file: Path
    """A copy of the fleet, for a start while the registry is away."""
    snapshot_interval_s: float = Field(default=30.0, ge=1.0, le=3_600.0)
    """How often the state of a partition is written to Kafka: so much at most is replayed after a crash."""
    fleet_wait_s: float = Field(default=2.0, ge=0.0, le=60.0)
    """How long a message with channels that our fleet does not know (yet) waits for the registry to tell of them."""


class ScoreJobSettings(JobSettings):
    """Table [job]."""

    group: KafkaName = "score"


class ProcessSettings(Settings):
    """The whole file."""

    kafka: KafkaSettings
    job: ScoreJobSettings = ScoreJobSettings()
    registry: UpstreamSettings
    score: ScoreSettings

    def anchored(self, folder: Path) -> ProcessSettings:
        """With relative paths made relative to `folder`."""
        score = self.score.model_copy(update={"fleet_file": folder / self.score.fleet_file})
        return self.model_copy(update={"registry": self.registry.anchored(folder), "score": score})


def run(settings: ProcessSettings) -> int:
    """Runs until SIGTERM or SIGINT; gives the exit code."""
    return run_job(settings.job, settings.kafka, OBSERVATIONS, lambda: _score_handler(settings))


@contextlib.asynccontextmanager
async def _score_handler(settings: ProcessSettings) -> AsyncIterator[ScoreHandler]:
    async with (
        UpstreamClient(settings.registry) as registry,
        KafkaProducer(settings.kafka, CLIENT_ID) as producer,
    ):
        fleets = FleetSource(registry, settings.score.fleet_file)
        handler = ScoreHandler(settings, producer, await fleets.first())
        following = asyncio.create_task(fleets.run(handler.take_fleet))
        handler.following = following
        try:
            yield handler
        finally:
            following.cancel()
            handler.close()


class ScoreHandler:
    """The states of the partitions that this worker has, or had."""

    def __init__(self, settings: ProcessSettings, producer: KafkaProducer, fleet: FleetSnapshot) -> None:
        self.following: asyncio.Task[None] | None = None
        """The task that follows the registry: the worker must not outlive it."""
        self._settings = settings
        self._partitions = settings.kafka.partitions
        self._producer = producer
        self._restorer = PartitionRestorer(settings.kafka)
        self._fleet = fleet
        self._fleet_changed = asyncio.Event()
        self._waited_for: set[int] = set()
        """Fleet revisions beyond which nothing came in time: not waited for again."""
        self._told_failures: set[str] = set()
        self._states: dict[int, PartitionState] = {}
        self._turns: dict[int, int] = {}
        self._assigned: frozenset[int] = frozenset()
        self._refitter = ForestRefitter()
        """One for all partitions."""

    @property
    def waiting_because(self) -> str | None:
        """Why `take` is waiting for Kafka now, if it is."""
        return self._producer.waiting_because or self._restorer.waiting_because

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision: each partition takes it before its next message."""
        self._fleet = fleet
        self._fleet_changed.set()
        _log.info("fleet_taken revision=%d channels=%d", fleet.revision, len(fleet.channels))

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Scores them; returns when all that follows is durable in Kafka."""
        outcomes = []
        for run in split_runs(messages):
            outcomes += [(run[0].partition, outcome) for outcome in await self._score(run)]
        await self._producer.send(messages_of(outcomes))
        for partition in sorted({partition for partition, _ in outcomes}):
            await self._save_snapshot(self._states[partition])

    async def take_assignment(self, partitions: frozenset[int]) -> None:
        """Restores partitions that are new, all at once, up to what the group has committed: that is durably scored.

        Where nothing is committed, Faust begins at the first message.
        """
        gained, self._assigned = partitions - self._assigned, partitions
        if not gained:
            return
        committed = await self._restorer.committed(self._settings.job.group, sorted(gained))
        before = {each: committed.get(each, 0) for each in gained}
        behind = [each for each, offset in before.items() if self._is_behind(each, offset)]
        gc.freeze()  # fleet and states live long: to look through them again and again is a third of a restore
        await asyncio.gather(*(self._restore(each, before[each]) for each in behind))
        gc.freeze()

    async def tick(self) -> None:
        """Ends the worker if the fleet is not followed any more; has forests refitted that are due."""
        if self.following is not None and self.following.done():
            self.following.result()
        own = [self._states[partition] for partition in sorted(self._assigned & self._states.keys())]
        for failure in self._refitter.step(forest for state in own for forest in state.pipeline.groups.forests):
            _log.warning("forest_refit_failed %s", failure.text)

    def close(self) -> None:
        """Ends what runs beside the worker."""
        self._refitter.close()

    async def _state_before(self, message: SourceMessage) -> PartitionState:
        """The partition's state, which knows all messages before this one."""
        if self._is_behind(message.partition, message.offset):
            await self._restore(message.partition, message.offset)
        return self._states[message.partition]

    def _is_behind(self, partition: int, offset: int) -> bool:
        """Whether we do not know what stands before an offset."""
        state = self._states.get(partition)
        return state is None or state.next_offset < offset

    async def _restore(self, partition: int, before_offset: int) -> None:
        fleet, known = self._fleet_of(partition), self._states.get(partition)
        state = await self._restorer.restore(partition, before_offset, fleet, known)
        self._states[partition] = state
        self._turns[partition] = self._turn(state)

    async def _score(self, messages: Sequence[SourceMessage]) -> list[Outcome]:
        """Takes messages of one partition that follow one another."""
        state = await self._state_before(messages[0])
        run: list[tuple[int, ObservationMessage]] = []
        for message in messages:
            if message.offset < state.next_offset:
                continue  # taken before, and durable: it came again after a rebalance
            observations = state.parse(message.value, run[-1][1].made_ns if run else None)
            await self._update_fleet(state, observations.record)
            run.append((message.offset, observations))
        outcomes = state.take_all(run, time.time_ns())
        for outcome in outcomes:
            for failure in outcome.failures:
                _log.error(
                    "pipeline_failed partition=%d offset=%d %s",
                    *(state.partition, outcome.scored.source_offset, failure),
                )
        return outcomes

    async def _update_fleet(self, state: PartitionState, record: Record) -> None:
        """Gives the state the newest fleet; waits a little if even that does not know all channels."""
        self._give_fleet(state)
        revision = self._fleet.revision
        if revision in self._waited_for or state.knows_all(record):
            return
        self._fleet_changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.score.fleet_wait_s):
                await self._fleet_changed.wait()
        if self._fleet.revision == revision:
            _log.warning("channels_unknown partition=%d revision=%d", state.partition, revision)
            self._waited_for.add(revision)
        self._give_fleet(state)

    def _give_fleet(self, state: PartitionState) -> None:
        if state.revision != self._fleet.revision:
            state.take_fleet(self._fleet_of(state.partition))

    def _fleet_of(self, partition: int) -> FleetSnapshot:
        return restrict_fleet(self._fleet, partition, self._partitions)

    async def _save_snapshot(self, state: PartitionState) -> None:
        """If it is its turn. All messages that it knows are durably scored: whoever restores it goes on from there."""
        turn = self._turn(state)
        if turn == self._turns[state.partition]:
            return
        self._turns[state.partition] = turn
        start_s = time.monotonic()
        data = state.snapshot()
        await self._producer.send(
            [
                KafkaMessage(STATE_SNAPSHOTS, state.partition, *each)
                for each in split_snapshot(state.partition, turn, state.next_offset, data)
            ]
        )
        _log.info(
            "snapshot_saved partition=%d next_offset=%d bytes=%d took_s=%.3f",
            *(state.partition, state.next_offset, len(data), time.monotonic() - start_s),
        )

    def _turn(self, state: PartitionState) -> int:
        interval_s = self._settings.score.snapshot_interval_s
        return turn_of(state.made_ns, state.partition, self._partitions, interval_s)


def split_runs(messages: Iterable[SourceMessage]) -> list[list[SourceMessage]]:
    """Messages of one partition whose offsets follow one another, each in a list of its own, in order."""
    runs: list[list[SourceMessage]] = []
    last: dict[int, list[SourceMessage]] = {}
    for message in messages:
        run = last.get(message.partition)
        if run is None or message.offset != run[-1].offset + 1:
            run = last[message.partition] = []
            runs.append(run)
        run.append(message)
    return runs
