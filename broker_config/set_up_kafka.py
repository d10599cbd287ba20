"""Brings the topics of a Kafka cluster to what `contracts` says (a shell; `kafka_topic` decides).

A topic that is absent is made; settings that differ are set. The number of partitions of a topic that exists cannot be
mended: gateways would move to other workers' state (`contracts.kafka_topic`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from broker_config.configuration import KafkaSettings
from broker_config.kafka_topic import TopicChange, plan_topics, topic_configuration
from contracts.kafka_topic import TOPICS, KafkaTopic

REQUEST_TIMEOUT_MS: Final = 20_000


class KafkaSetUpError(Exception):
    """The cluster cannot be reached or refuses; its message says what it answered."""


async def set_up_kafka(servers: Sequence[str], settings: KafkaSettings, *, is_check: bool) -> list[TopicChange]:
    """What differs; it is mended unless `is_check`. Raises KafkaSetUpError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=list(servers), request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        changes = plan_topics(settings, await _read_topics(admin))
        if not is_check:
            await _apply(admin, settings, changes)
    except (KafkaError, OSError) as error:
        raise KafkaSetUpError(f"Kafka at {','.join(servers)}: {error!r}") from error
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await admin.close()
    return changes


async def _read_topics(admin: AIOKafkaAdminClient) -> dict[str, tuple[int, dict[str, str]]]:
    """Of each of our topics that is there: its number of partitions and its settings."""
    names = {topic.name for topic in TOPICS} & set(await admin.list_topics())
    if not names:
        return {}
    partitions = {row["topic"]: len(row["partitions"]) for row in await admin.describe_topics(sorted(names))}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(names)])
    settings: dict[str, dict[str, str]] = {}
    for answer in answers:
        for error_code, message, _, name, rows in answer.resources:
            _check(error_code, f"{name}: {message}")
            settings[name] = {row[0]: str(row[1]) for row in rows}
    return {name: (partitions[name], settings[name]) for name in names}


async def _apply(admin: AIOKafkaAdminClient, settings: KafkaSettings, changes: Iterable[TopicChange]) -> None:
    for change in changes:
        pairs = _pairs(settings, change.topic)
        if change.is_new:
            topic = NewTopic(change.topic.name, settings.partitions, settings.replication_factor, topic_configs=pairs)
            answer = await admin.create_topics([topic])
            for name, error_code, message in answer.topic_errors:
                _check(error_code, f"{name}: {message}")
        elif not change.is_hopeless:
            resource = ConfigResource(ConfigResourceType.TOPIC, change.topic.name, configs=pairs)
            for altered in await admin.alter_configs([resource]):
                for error_code, message, *_ in altered.resources:
                    _check(error_code, f"{change.topic.name}: {message}")


def _pairs(settings: KafkaSettings, topic: KafkaTopic) -> Mapping[str, str]:
    return dict(pair.split("=", 1) for pair in topic_configuration(settings, topic))


def _check(error_code: Any, what: str) -> None:  # noqa: ANN401  # an answer's field
    if error_code:
        raise KafkaSetUpError(f"{for_code(error_code).__name__}: {what}")
