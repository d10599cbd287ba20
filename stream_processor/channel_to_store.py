"""The job (shell): takes what the bridge heard, runs the pipeline, commits, and only then acknowledges.

    bounded channel → plan_commit → Pipeline.step → DuckdbStore.commit → acknowledgements, last values, outbox

A commit that fails for a transient reason (disk full) is tried again with back-off: readings wait in the bounded
channel, agents keep what is not acknowledged. A batch that the pipeline itself cannot take is quarantined, not
retried for ever.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from contracts.fleet import FleetSnapshot
from contracts.record import Record, concatenate, empty_record
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.change_signal import ChangeSignal
from stream_processor.commit_plan import CommitPlan, plan_commit
from stream_processor.configuration import StoreSettings
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.effects import CommandDue
from stream_processor.errors import StoreBusyError
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_ledger import GapLedger
from stream_processor.host_session import HostSession, acknowledgement
from stream_processor.latest_table import LatestTable, rows_of
from stream_processor.mqtt_to_channel import Bridge
from stream_processor.pipeline.pipeline import Pipeline, Scored, join_scored, unscored
from stream_processor.pipeline.quality_control import is_bad
from stream_processor.refit_forest import ForestRefitter
from stream_processor.store_columns import Commit

_log = logging.getLogger("stream_processor.job")

STALE_LOOK_S = 1.0
COMMIT_RETRY_FIRST_S = 0.2
COMMIT_RETRY_MAX_S = 10.0


@dataclass(slots=True)
class JobCounters:
    """What the job has done, for health."""

    duplicate_batches_total: int = 0
    duplicate_observations_total: int = 0
    """Of edge nodes without batch identity: same channel, same time, same value."""
    unscored_batches_total: int = 0
    """Stored without score and conditions, because the pipeline failed on them: a defect of ours."""


class Job:
    """Owns the pipeline's state and the ledger. One `run` at a time."""

    def __init__(
        self,
        settings: StoreSettings,
        store: DuckdbStore,
        session: HostSession,
        channel: BoundedChannel,
        bridge: Bridge,
        on_events: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._store = store
        self._session = session
        self._channel = channel
        self._bridge = bridge
        self._on_events = on_events
        self._pending_fleet: FleetSnapshot | None = None
        self._snapshot_at_s = time.monotonic() + settings.snapshot_interval_s
        self._commit_seq = 0
        self._saved_seq = 0
        self._refitter = ForestRefitter()
        self.pipeline = Pipeline()
        self.ledger = GapLedger()
        self.latest = LatestTable()
        self.latest_changed = ChangeSignal()
        self.counters = JobCounters()

    def restore(self, fleet: FleetSnapshot) -> None:
        """Takes up where the last run ended. Blocks; before `run`."""
        store = self._store
        for stored in store.stored_batches():
            self.ledger.record_stored(*stored)
        for lost in store.lost_batches():
            self.ledger.record_lost(*lost)
        for thinned in store.thinned_readings():
            self.ledger.record_thinned(*thinned)
        snapshot = store.snapshot()
        self.pipeline = Pipeline(() if snapshot is None else tuple(int(each) for each in snapshot[1]))
        if snapshot is not None:
            self._restore_detector(snapshot[2])
        self.pipeline.conditions.lanes.update(store.condition_lanes())
        self._apply_fleet(fleet)
        self._replay(0 if snapshot is None else snapshot[0])
        self._restore_last_values()

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision: applied between two commits."""
        self._pending_fleet = fleet

    async def run(self) -> None:
        """Commits until cancelled; a commit that has begun is ended first."""
        try:
            await self._run()
        finally:
            self._refitter.close()

    async def _run(self) -> None:
        while True:
            await self._channel.wait(STALE_LOOK_S)
            self._refit_forests()
            if self._pending_fleet is not None:
                self._apply_fleet(self._pending_fleet)
                self._pending_fleet = None
            if self._channel.is_empty:
                self._tell_stale(time.time_ns())
                continue
            effects = await self._channel.gather(self._settings.commit_interval_s, self._settings.commit_rows)
            taken_ns, is_all = time.time_ns(), self._channel.is_empty
            plan = plan_commit(effects, self.ledger)
            commit = asyncio.create_task(self._commit(plan))
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                await commit
                raise
            if is_all:  # what still waits must not be called stale
                self._tell_stale(taken_ns)

    def _refit_forests(self) -> None:
        """Between two commits: nobody else has the pipeline."""
        for failure in self._refitter.step(self.pipeline.groups.forests):
            _log.warning("forest_refit_failed %s", failure.text)

    async def save_snapshot(self) -> None:
        """Keeps the detectors' state if it has learnt anything since the last time."""
        if self._commit_seq == self._saved_seq:
            return
        detector = self.pipeline.snapshot_scores()
        channel_ids = self.pipeline.channels.channel_ids.copy()
        await asyncio.to_thread(self._store.save_snapshot, channel_ids, detector, self._commit_seq)
        self._saved_seq = self._commit_seq

    async def _commit(self, plan: CommitPlan) -> None:
        if plan.needs_commit:
            records = plan.records or [empty_record()]
            scored = await asyncio.to_thread(self._score, records)
            commit = Commit(
                scored.record, scored, plan.batches, plan.quarantined, plan.lost_batches, plan.thinned, plan.waveforms
            )
            await self._commit_until_done(commit)
            self.latest.take(scored.record, scored)
            self.counters.duplicate_observations_total += scored.duplicates
            if scored.events:
                self._on_events()
        self._after_commit(plan)
        await self._bridge.publish(self._acknowledgements(plan))
        if time.monotonic() >= self._snapshot_at_s:
            self._snapshot_at_s = time.monotonic() + self._settings.snapshot_interval_s
            await self.save_snapshot()

    def _score(self, records: Sequence[Record]) -> Scored:
        """Runs the pipeline. Should it fail, batch by batch, so that only the one that it cannot take goes unscored."""
        record = concatenate(records)
        try:
            return self.pipeline.step(record, time.time_ns())
        except Exception:  # noqa: BLE001  # whatever a defect of ours raises, data must not be lost for it
            _log.exception("pipeline_failed readings=%d batches=%d", len(record), len(records))
        return join_scored([self._score_alone(each) for each in records])

    def _score_alone(self, record: Record) -> Scored:
        try:
            return self.pipeline.step(record, time.time_ns())
        except Exception:  # noqa: BLE001
            _log.exception("batch_unscored readings=%d batches=%s", len(record), record.batches)
            self.counters.unscored_batches_total += 1
            return unscored(self.pipeline, record)

    async def _commit_until_done(self, commit: Commit) -> None:
        delay_s = COMMIT_RETRY_FIRST_S
        while True:
            try:
                self._commit_seq = await asyncio.to_thread(self._store.commit, commit)
            except StoreBusyError as error:
                _log.warning("commit_failed readings=%d retry_s=%.1f error=%s", len(commit.record), delay_s, error)
                await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
                delay_s = min(2 * delay_s, COMMIT_RETRY_MAX_S)
            else:
                return

    def _after_commit(self, plan: CommitPlan) -> None:
        for identity in plan.batches:
            self.ledger.record_stored(identity.gateway_id, identity.epoch, identity.batch, identity.batch)
        for lost in plan.lost_batches:
            for first, last in lost.ranges:
                self.ledger.record_lost(lost.gateway_id, lost.epoch, first, last)
        for (gateway_id, epoch), readings in plan.thinned.items():
            self.ledger.record_thinned(gateway_id, epoch, readings)
        for channels in plan.lost_channels:
            rows = rows_of(channels.channel_ids, self.pipeline.channels.row_of_channel)
            self.latest.take_lost(rows, channels.reason, channels.time_ns)
            self.pipeline.take_lost(channels)
        self.counters.duplicate_batches_total += len(plan.duplicates)
        self.latest_changed.notify()

    def _tell_stale(self, now_ns: int) -> None:
        """Channels that were silent for too long; all that was received before `now_ns` has been committed."""
        silent = self.pipeline.find_stale(now_ns)
        for channels in silent:
            rows = rows_of(channels.channel_ids, self.pipeline.channels.row_of_channel)
            self.latest.take_lost(rows, channels.reason, channels.time_ns)
            _log.info("channels_stale gateway=%s channels=%s", channels.gateway_id, channels.channel_ids[:10])
        if silent:
            self.latest_changed.notify()

    def _acknowledgements(self, plan: CommitPlan) -> list[CommandDue]:
        gateways = {edge_node.gateway_id: edge_node for edge_node in self._session.edge_nodes.values()}
        now_ns = time.time_ns()
        return [
            acknowledgement(gateways[gateway_id], epoch, ranges, now_ns)
            for (gateway_id, epoch), ranges in plan.acknowledgements().items()
        ]

    def _apply_fleet(self, fleet: FleetSnapshot) -> None:
        index = FleetIndex(fleet)
        self.pipeline.take_fleet(index, time.time_ns())
        self.latest.grow(self.pipeline.channels.channel_ids)
        self._session.take_fleet(index)
        _log.info("fleet_taken revision=%d channels=%d", fleet.revision, len(fleet.channels))

    def _restore_detector(self, state: bytes) -> None:
        try:
            self.pipeline.restore_scores(state)
        except ValueError as error:  # of an earlier version: what it was about warms up again, nothing else is lost
            _log.warning("detector_state_unreadable error=%s", error)

    def _replay(self, commit_seq: int) -> None:
        """Detectors learn again what was stored after their snapshot. Conditions were kept with each commit."""
        count = 0
        known = self.pipeline.channels.row_of_channel
        for history in self._store.history_after(commit_seq):
            is_known = np.array([int(each) in known for each in history.channel_id], dtype=np.bool_)
            rows = self.pipeline.channels.rows_of(history.channel_id[is_known])
            usable = ~is_bad(history.reason) & ~history.is_late & np.isfinite(history.value)
            learnt = usable[is_known]
            self.pipeline.learn(rows[learnt], history.event_ns[is_known][learnt], history.value[is_known][learnt])
            count += len(rows)
        _log.info("history_replayed readings=%d after_commit=%d", count, commit_seq)

    def _restore_last_values(self) -> None:
        channel_ids, values, good_ns, seen_ns = self._store.newest_good()
        known = self.pipeline.channels.row_of_channel
        is_known = np.array([int(each) in known for each in channel_ids], dtype=np.bool_)
        rows = self.pipeline.channels.rows_of(channel_ids[is_known])
        self.latest.restore_good(rows, values[is_known], good_ns[is_known])
        self.pipeline.restore_watermarks(rows, seen_ns[is_known])
