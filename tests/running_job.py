"""The recording job (tests.recording_job) as a process, and what a test asks Kafka about it."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.kafka_topic import OBSERVATIONS
from tests.running_kafka import RunningKafka

DEADLINE_S = 40.0
_groups = itertools.count()


class Job:
    """The recording job as a process: it may be started several times, in the same group."""

    def __init__(self, folder: Path, address: str, partitions: int) -> None:
        self.group = f"group-{next(_groups)}"
        self._argv = [sys.executable, "-m", "tests.recording_job", address, str(partitions), self.group]
        self._folder = folder
        self._lives: list[subprocess.Popen[bytes]] = []

    def start(self, *options: str) -> None:
        number = len(self._lives)
        with self._path(number, "out").open("wb") as out, self._path(number, "err").open("wb") as err:
            self._lives.append(subprocess.Popen([*self._argv, *options], stdout=out, stderr=err))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._lives[-1]

    def told(self) -> list[dict[str, object]]:
        """What this life of the process has said."""
        text = self._path(len(self._lives) - 1, "out").read_text()
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def log(self) -> str:
        return self._path(len(self._lives) - 1, "err").read_text()

    def taking(self) -> list[str]:
        return [str(each["value"]) for each in self.told() if "taking" in each]

    def taken(self) -> int:
        return sum(len(each["taken"]) for each in self.told() if "taken" in each)  # type: ignore[arg-type]

    def until(self, is_true: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        while not is_true():
            assert self.process.poll() is None, self.log()[-3_000:]
            assert time.monotonic() < deadline_s, f"{self.told()}\n{self.log()[-3_000:]}"
            time.sleep(0.05)

    def until_started(self) -> None:
        self.until(lambda: "job_started" in self.log())

    def kill_all(self) -> None:
        for process in self._lives:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _path(self, number: int, kind: str) -> Path:
        return self._folder / f"{self.group}-{number}.{kind}"


async def commit_ends(kafka: RunningKafka, group: str) -> None:
    async with AIOKafkaConsumer(bootstrap_servers=kafka.address, group_id=group, enable_auto_commit=False) as consumer:
        places = [TopicPartition(OBSERVATIONS.name, number) for number in range(kafka.partitions)]
        consumer.assign(places)
        await consumer.commit(await consumer.end_offsets(places))


async def committed(kafka: RunningKafka, group: str) -> dict[int, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    try:
        offsets = await admin.list_consumer_group_offsets(group)
        return {place.partition: each.offset for place, each in offsets.items()}
    finally:
        await admin.close()


def write(kafka: RunningKafka, *values: str, partition: int = 0) -> None:
    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=kafka.address) as producer:
            for value in values:
                await producer.send_and_wait(OBSERVATIONS.name, value.encode(), partition=partition)

    asyncio.run(send())
