"""The embedded job with its real store: staleness and repeats as the console sees them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from contracts.fleet import FleetSnapshot
from contracts.query import ChannelLatest
from contracts.record import Record, empty_record
from contracts.uplink import BatchIdentity
from stream_processor import channel_to_store
from stream_processor.bounded_channel import BoundedChannel
from stream_processor.channel_to_store import Job
from stream_processor.configuration import MqttSettings, StoreSettings
from stream_processor.detectors.group_contract import Frames
from stream_processor.duckdb_store import DuckdbStore
from stream_processor.effects import BatchReceived
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_ledger import GapLedger
from stream_processor.host_session import HostSession
from stream_processor.mqtt_to_channel import Bridge

START_NS = 1_761_955_200_000_000_000
SECOND_NS = 1_000_000_000
DEADLINE_S = 20.0
GROUP = (21, 22, 23)


@dataclass
class WallClock:
    """The job's clock: it stands until the test moves it."""

    now_ns: int = START_NS

    def time_ns(self) -> int:
        return self.now_ns

    monotonic = staticmethod(time.monotonic)


@dataclass
class RunningJob:
    """A job with its channel, its store and its clock."""

    job: Job
    store: DuckdbStore
    channel: BoundedChannel
    clock: WallClock

    async def hear(self, second: int, value: float) -> None:
        """One reading of a third-party gateway; returns when it is committed or dropped."""
        self.clock.now_ns = time_ns = START_NS + second * SECOND_NS
        record = Record(
            channel_id=np.array([11], dtype=np.uint32),
            phenomenon_ns=np.array([time_ns]),
            received_ns=np.array([time_ns]),
            value=np.array([value]),
            reason=np.zeros(1, dtype=np.uint8),
            is_historical=np.zeros(1, dtype=np.bool_),
            batch_index=np.zeros(1, dtype=np.int32),
            batches=(None,),
        )
        count = self.taken
        self.channel.put(BatchReceived("gw-1", None, record))
        await until(lambda: self.taken == count + 1)

    async def hear_frames(self, first: int, count: int) -> None:
        """A reading of each channel of the group every six minutes."""
        random = np.random.default_rng(first)
        times_ns = START_NS + np.repeat(np.arange(first, first + count), len(GROUP)) * 360 * SECOND_NS
        self.clock.now_ns = int(times_ns[-1])
        record = Record(
            channel_id=np.tile(np.array(GROUP, dtype=np.uint32), count),
            phenomenon_ns=times_ns,
            received_ns=times_ns,
            value=np.round(random.normal(5.0, 1.0, len(times_ns)), 1),
            reason=np.zeros(len(times_ns), dtype=np.uint8),
            is_historical=np.zeros(len(times_ns), dtype=np.bool_),
            batch_index=np.zeros(len(times_ns), dtype=np.int32),
            batches=(None,),
        )
        expected = self.taken + len(times_ns)
        self.channel.put(BatchReceived("gw-1", None, record))
        await until(lambda: self.taken == expected)

    @property
    def taken(self) -> int:
        """Readings that were stored or dropped."""
        return self.store.stored_total + self.job.counters.duplicate_observations_total

    def latest(self) -> ChannelLatest:
        """What the console shows of the channel."""
        (row,) = self.job.latest.page(0).channels
        return row


async def until(is_true: Callable[[], bool]) -> None:
    """Polls; fails at the deadline."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.005)


@pytest.fixture
def run_with_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a scenario beside a running job."""
    monkeypatch.setattr(channel_to_store, "STALE_LOOK_S", 0.005)

    def run(scenario: Callable[[RunningJob], object], fleet: FleetSnapshot | None = None) -> None:
        clock = WallClock()
        monkeypatch.setattr(channel_to_store, "time", clock)
        settings = StoreSettings(directory=tmp_path, commit_interval_s=0.0)
        store = DuckdbStore(tmp_path)
        fleet = _fleet() if fleet is None else fleet
        session, channel = HostSession(FleetIndex(fleet), 0), BoundedChannel(1_000)
        job = Job(settings, store, session, channel, Bridge(MqttSettings(), session, channel), lambda: None)
        job.restore(fleet)

        async def beside() -> None:
            task = asyncio.create_task(job.run())
            try:
                await scenario(RunningJob(job, store, channel, clock))  # type: ignore[misc]
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        try:
            asyncio.run(beside())
        finally:
            store.close()

    return run


def _fleet() -> FleetSnapshot:
    site = {"site_id": "s", "district_id": "d", "domain": "gas", "name": "s", "latitude": 0.0, "longitude": 0.0}
    node = {"node_id": "n", "gateway_id": "gw-1", "bus_id": "b", "site_id": "s", "model": "m"}
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "d", "name": "d"}],
            "sites": [site],
            "gateways": [{"gateway_id": "gw-1", "district_id": "d", "name": "g"}],
            "nodes": [node],
            "channels": [{"channel_id": 11, "node_id": "n", "quantity": "methane_lel"}],
        }
    )


def _group_fleet() -> FleetSnapshot:
    """Three channels that are scored as a group, by both detectors."""
    rows = _fleet().model_dump(mode="json")
    rows["nodes"] = [rows["nodes"][0] | {"node_id": f"n{each}"} for each in GROUP]
    scores = ["score_group_distance", "score_group_forest"]
    rows["channels"] = [rows["channels"][0] | {"channel_id": n, "node_id": f"n{n}", "scores": scores} for n in GROUP]
    return FleetSnapshot.model_validate(rows)


def test_a_channel_that_falls_silent_is_shown_as_stale_with_its_last_good_value_until_it_is_heard(
    run_with_job: Callable[..., None],
) -> None:
    async def scenario(running: RunningJob) -> None:
        for second in range(6):
            await running.hear(second, 1.0 + second)
        assert running.latest().reason == "ok"
        for _ in range(5):
            running.clock.now_ns += 7 * SECOND_NS
            await asyncio.sleep(0.05)  # the job looks at each of these moments: a clock that leaps is its own silence
        await until(lambda: running.latest().reason == "stale")
        assert (running.latest().value, running.latest().last_good_value) == (None, 6.0)
        await running.hear(60, 9.0)
        await until(lambda: running.latest().reason == "ok")
        assert running.latest().value == 9.0

    run_with_job(scenario)


def test_a_reading_that_a_third_party_gateway_tells_twice_is_stored_once_and_counted(
    run_with_job: Callable[..., None],
) -> None:
    async def scenario(running: RunningJob) -> None:
        for second, value in ((0, 1.0), (1, 2.0), (1, 2.0), (2, 3.0)):
            await running.hear(second, value)
        assert running.store.stored_total == 3
        assert running.job.counters.duplicate_observations_total == 1

    run_with_job(scenario)


def test_what_a_gateway_thinned_stands_in_the_ledger_and_is_remembered_by_the_next_process(
    run_with_job: Callable[..., None],
) -> None:
    async def scenario(running: RunningJob) -> None:
        thinned = BatchReceived(
            "gw-1",
            BatchIdentity("gw-1", 7, 1),
            replace(empty_record(), batches=(BatchIdentity("gw-1", 7, 1),)),
            thinned_readings=200,
        )
        running.channel.put(thinned)
        await until(lambda: [row.stored_batches for row in running.job.ledger.rows()] == [1])
        (row,) = running.job.ledger.rows()
        assert (row.thinned_readings, row.stored_batches, row.missing_ranges) == (200, 1, [])
        running.job.ledger = GapLedger()
        running.job.restore(_fleet())
        assert list(running.job.ledger.rows()) == [row]

    run_with_job(scenario)


def test_what_groups_learnt_is_there_after_a_restart_and_their_forest_was_fitted_beside_the_job(
    run_with_job: Callable[..., None],
) -> None:
    states: list[bytes] = []

    async def before(running: RunningJob) -> None:
        await running.hear_frames(0, 140)
        (forest,) = running.job.pipeline.groups.forests
        values = np.full((1, forest.width), 5.0)
        frame = Frames(np.array([0]), np.array([0]), values, np.full(values.shape, 0.1))
        await until(lambda: not np.isnan(forest.score(frame)[0]))
        await running.job.save_snapshot()
        await running.hear_frames(140, 5)
        states.append(running.job.pipeline.groups.snapshot())

    async def after(running: RunningJob) -> None:
        assert running.job.pipeline.groups.snapshot() == states[0]

    run_with_job(before, _group_fleet())
    run_with_job(after, _group_fleet())
