"""Scored messages for tests of what reads them: a fleet of any size, its messages, a process that is fed with them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import SCORED, partition_of
from contracts.record import Record
from contracts.record_message import PartitionTotals, ScoredMessage, encode_scored
from contracts.uplink import BatchIdentity
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings

ROOT = Path(__file__).parents[1]
QUANTITIES = ("methane_lel", "temperature", "pressure")
"""Three channels a node."""


def fleet_of(gateways: int, nodes_per_gateway: int, quantities: tuple[str, ...] = QUANTITIES) -> FleetSnapshot:
    """Gateways `gw-0` …, each with nodes of some channels; channel ids count from 1, in order."""
    nodes = [
        (f"gw-{gateway}", f"node-{gateway * nodes_per_gateway + node}")
        for gateway in range(gateways)
        for node in range(nodes_per_gateway)
    ]
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "harbour", "name": "Harbour"}],
            "sites": [
                {"site_id": "s", "district_id": "harbour", "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}
            ],
            "gateways": [
                {"gateway_id": f"gw-{gateway}", "district_id": "harbour", "name": "G"} for gateway in range(gateways)
            ],
            "nodes": [
                {"node_id": node_id, "gateway_id": gateway_id, "bus_id": "tcp", "site_id": "s", "model": "M"}
                for gateway_id, node_id in nodes
            ],
            "channels": [
                {"channel_id": 1 + len(quantities) * at + number, "node_id": node_id, "quantity": quantity}
                for at, (_, node_id) in enumerate(nodes)
                for number, quantity in enumerate(quantities)
            ],
        }
    )


def scored_of(
    source_offset: int,
    channel_id: Iterable[int],
    time_ns: Iterable[int],
    value: Iterable[float],
    reason: Iterable[int] | int = 0,
    score: Iterable[float] | float = np.nan,
    *,
    batch: BatchIdentity | None = None,
    **more: object,
) -> ScoredMessage:
    """A message of one batch; columns may be single values for all rows."""
    times = np.array(list(time_ns), np.int64)
    count = len(times)
    record = Record(
        channel_id=np.array(list(channel_id), np.uint32),
        phenomenon_ns=times,
        received_ns=times + 20_000_000,
        value=np.array(list(value), np.float64),
        reason=np.broadcast_to(np.array(reason, np.uint8), (count,)).copy(),
        is_historical=np.zeros(count, np.bool_),
        batch_index=np.zeros(count, np.int32),
        batches=(batch,) if count or batch else (),
    )
    return ScoredMessage(
        source_offset=source_offset,
        made_ns=more.pop("made_ns", time.time_ns()),
        record=record,
        event_ns=times,
        score_ewma_z=np.broadcast_to(np.array(score, np.float64), (count,)).copy(),
        is_late=np.zeros(count, np.bool_),
        totals=more.pop("totals", PartitionTotals()),
        **more,
    )


def feed(address: str, partitions: int, messages: Iterable[tuple[str, ScoredMessage | bytes]]) -> None:
    """Writes messages, each with the gateway whose partition it is for, to `observations.scored`."""
    asyncio.run(feed_async(address, partitions, messages))


async def feed_async(address: str, partitions: int, messages: Iterable[tuple[str, ScoredMessage | bytes]]) -> None:
    async with KafkaProducer(KafkaSettings(servers=(address,), partitions=partitions), "test-feed") as producer:
        await producer.send(
            [
                KafkaMessage(
                    SCORED,
                    partition_of(gateway_id, partitions),
                    None,
                    message if isinstance(message, bytes) else encode_scored(message),
                )
                for gateway_id, message in messages
            ]
        )


class RoleProcess:
    """A `stream-processor` of one role as a process of its own; its log is in a file."""

    def __init__(self, role: str, config: Path) -> None:
        self._log_path = config.with_suffix(".log")
        self._log = self._log_path.open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream_processor.cli", role, "--config", config],
            cwd=ROOT,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def log(self) -> str:
        return self._log_path.read_text()

    def says_why_it_ended(self) -> bool:
        """False while it runs; fails with its log when it has ended."""
        assert self.process.poll() is None, self.log()[-3_000:]
        return False

    def resident_mib(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the process is gone")

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self) -> None:
        """-9."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=20)
        self._log.close()
        return code
