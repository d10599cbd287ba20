"""A real Kafka of its own for a test: one node in KRaft mode on free ports, with our topics, killed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from broker_config.configuration import KafkaSettings
from broker_config.kafka_topic import topic_configuration
from contracts.kafka_topic import TOPICS, KafkaTopic
from deploy.layout import RunDirectory
from deploy.stack import recipe
from deploy.stack.find_servers import find_servers
from deploy.stack.recipe import Facts

DEADLINE_S = 60.0
CLUSTER_ID = "citysense-test-cluster0"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _accepts(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


class RunningKafka:
    """One server with its data in a folder; it can be killed and started again on the same port."""

    def __init__(self, folder: Path, partitions: int, topics: Sequence[KafkaTopic] = TOPICS) -> None:
        self.partitions = partitions
        self._topics = topics
        self._ports = {"kafka": free_port(), "kafka-controller": free_port()}
        self.address = f"127.0.0.1:{self._ports['kafka']}"
        self._folder = folder
        run = RunDirectory(str(folder))
        for name in ("config", "data", "log"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "config/kafka.properties").write_text(recipe.render_kafka(run, self._ports))
        (folder / "config/kafka-log4j2.properties").write_text(recipe.render_kafka_logging())
        found = find_servers(["kafka"], print, may_make=False)
        facts = Facts(
            is_kafka_formatted=False,
            kafka_cluster_id=CLUSTER_ID[:22],
            is_postgresql_initialised=True,
            as_postgresql_user=(),
        )
        programs = recipe.plan_servers(run, self._ports, found, facts)
        self._format, self._server = programs

    def start(self) -> None:
        """Formats the data directory the first time, starts, waits until it answers, makes the topics."""
        is_new = not (self._folder / "data/kafka/meta.properties").exists()
        if is_new:
            subprocess.run(self._format.argv, check=True, capture_output=True, timeout=DEADLINE_S)
        self._log = (self._folder / "log/kafka.log").open("ab")
        self._process = subprocess.Popen(self._server.argv, stdout=self._log, stderr=self._log)
        asyncio.run(self._until_ready())

    async def _until_ready(self) -> None:
        deadline_s = time.monotonic() + DEADLINE_S
        host, _, port = self.address.partition(":")
        while not _accepts(host, int(port)):
            assert self._process.poll() is None, (self._folder / "log/kafka.log").read_text()[-2_000:]
            await asyncio.sleep(0.1)
        while True:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
            try:
                await admin.start()
                await self._make_topics(admin)
            except Exception:  # noqa: BLE001  # a server that starts answers in many ways
                assert self._process.poll() is None, (self._folder / "log/kafka.log").read_text()[-2_000:]
                assert time.monotonic() < deadline_s, "Kafka is not ready"
                await asyncio.sleep(0.1)
            else:
                return
            finally:
                with contextlib.suppress(Exception):
                    await admin.close()

    async def _make_topics(self, admin: AIOKafkaAdminClient) -> None:
        known = await admin.list_topics()
        settings = KafkaSettings(partitions=self.partitions)
        wanted = [
            NewTopic(
                topic.name,
                num_partitions=self.partitions,
                replication_factor=1,
                topic_configs=dict(pair.split("=", 1) for pair in topic_configuration(settings, topic)),
            )
            for topic in self._topics
            if topic.name not in known
        ]
        if wanted:
            await admin.create_topics(wanted)

    def alter(self, topic: str, settings: Mapping[str, str]) -> None:
        """Sets settings of a topic; those that are not named go back to Kafka's own."""
        asyncio.run(self._alter(topic, settings))

    async def _alter(self, topic: str, settings: Mapping[str, str]) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=dict(settings))])
        finally:
            await admin.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """-9: nothing is flushed by the process."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def read_all(self, topic: KafkaTopic) -> list[tuple[int, int, bytes | None, bytes | None]]:
        """Everything on a topic now: (partition, offset, key, value), in order by partition."""
        return asyncio.run(self.read_all_async(topic))

    async def read_all_async(self, topic: KafkaTopic) -> list[tuple[int, int, bytes | None, bytes | None]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.address, auto_offset_reset="earliest")
        await consumer.start()
        try:
            places = [TopicPartition(topic.name, number) for number in range(self.partitions)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            rows = []
            for place in places:
                await consumer.seek_to_beginning(place)
            while any([await consumer.position(place) < ends[place] for place in places]):
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    rows += [(each.partition, each.offset, each.key, each.value) for each in messages]
            return sorted(rows, key=lambda row: row[:2])
        finally:
            await consumer.stop()


@contextlib.contextmanager
def running_kafka(folder: Path, partitions: int = 4, topics: Sequence[KafkaTopic] = TOPICS) -> Iterator[RunningKafka]:
    """Starts a Kafka with these topics; kills it when the block ends."""
    kafka = RunningKafka(folder, partitions, topics)
    kafka.start()
    try:
        yield kafka
    finally:
        kafka.kill()
