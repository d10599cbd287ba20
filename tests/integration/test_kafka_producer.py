"""The producer on a real Kafka, with what aiokafka was seen to do when a broker is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer

from contracts.kafka_topic import OBSERVATIONS
from stream_processor.distributed import kafka_producer
from stream_processor.distributed.kafka_producer import KafkaMessage, KafkaProducer
from stream_processor.distributed.kafka_settings import KafkaSettings
from tests.running_kafka import RunningKafka, running_kafka

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 4
"""Each test has one of its own."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS, [OBSERVATIONS]) as server:
        yield server


class FirstIsSilent(AIOKafkaProducer):
    """The first producer of a test never answers: it retries for ever, without a word."""

    made = 0

    def __init__(self, **options):
        type(self).made += 1
        self.number = self.made
        super().__init__(**options)

    async def send(self, *words, **named):
        if self.number > 1:
            return await super().send(*words, **named)
        return asyncio.get_running_loop().create_future()


class FirstIsCancelled(FirstIsSilent):
    """The first producer lets out the cancellation of a task of its own."""

    made = 0

    async def send(self, *words, **named):
        if self.number > 1:
            return await super().send(*words, **named)
        raise asyncio.CancelledError


@pytest.mark.parametrize(("kind", "partition"), [(FirstIsSilent, 0), (FirstIsCancelled, 1)])
@pytest.mark.filterwarnings("ignore:Unclosed AIOKafkaProducer:ResourceWarning")
def test_a_producer_that_is_stuck_is_replaced_and_all_is_written_in_order(monkeypatch, kafka, kind, partition):
    monkeypatch.setattr(kafka_producer, "AIOKafkaProducer", kind)
    values = [b"%d" % number for number in range(5)]

    async def write():
        settings = KafkaSettings(
            servers=(kafka.address,), partitions=PARTITIONS, request_timeout_s=1.0, retry_first_s=0.05
        )
        async with KafkaProducer(settings, "test") as producer, asyncio.timeout(20):
            await producer.send([KafkaMessage(OBSERVATIONS, partition, None, value) for value in values])
            assert producer.waiting_because is None

    asyncio.run(write())
    assert kind.made == 2
    assert [value for at, _, _, value in kafka.read_all(OBSERVATIONS) if at == partition] == values


def test_a_producer_whose_kafka_is_gone_stops_at_once_and_leaves_nothing_running(tmp_path):
    async def write_and_stop(server):
        settings = KafkaSettings(servers=(server.address,), partitions=1, request_timeout_s=1.0)
        producer = KafkaProducer(settings, "test")
        await producer.send([KafkaMessage(OBSERVATIONS, 0, None, b"one")])
        server.kill()
        sending = asyncio.create_task(producer.send([KafkaMessage(OBSERVATIONS, 0, None, b"two")]))
        await asyncio.sleep(0.2)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        async with asyncio.timeout(5):
            await producer.__aexit__(None, None, None)
            while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110  # a request that is under way ends with its time out
                await asyncio.sleep(0.05)

    with running_kafka(tmp_path, 1, [OBSERVATIONS]) as server:
        asyncio.run(write_and_stop(server))
