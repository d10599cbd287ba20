"""Waits until Kafka answers and its topics are as the configuration says (shell), before anything is written."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.kafka_topic import KafkaTopic
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.errors import TopicMismatchError
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

_log = logging.getLogger("stream_processor.topics")


async def wait_for_topics(settings: KafkaSettings, client_id: str, topics: Sequence[KafkaTopic]) -> None:
    """Returns when all topics are there, as long as that takes.

    Raises TopicMismatchError if one has another number of partitions: a gateway would be on a partition on which nobody
    looks for it.
    """
    delay_s = settings.retry_first_s
    is_first = True
    while True:
        try:
            with foreign_cancellation_as_error("asking Kafka for its topics"):
                missing = _missing(await _describe(settings, client_id, topics), settings.partitions)
        except (KafkaError, OSError) as error:
            missing, reason = True, repr(error)
        else:
            reason = "topics are missing"
        if not missing:
            return
        if is_first:
            _log.warning("kafka_waiting servers=%s reason=%s", ",".join(settings.servers), reason)
        is_first = False
        await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
        delay_s = min(2 * delay_s, settings.retry_max_s)


async def _describe(settings: KafkaSettings, client_id: str, topics: Sequence[KafkaTopic]) -> list[dict[str, Any]]:
    admin = AIOKafkaAdminClient(
        bootstrap_servers=list(settings.servers),
        client_id=client_id,
        request_timeout_ms=round(1_000 * settings.request_timeout_s),
    )
    try:
        await admin.start()
        described: list[dict[str, Any]] = await admin.describe_topics([topic.name for topic in topics])
    finally:
        await admin.close()
    return described


def _missing(described: list[dict[str, Any]], partitions: int) -> bool:
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described}
    for name, count in counts.items():
        if count not in (0, partitions):
            raise TopicMismatchError(f"{name} has {count} partitions, the configuration says {partitions}")
    return 0 in counts.values()
