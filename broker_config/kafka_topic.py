"""Kafka topics as a shell script for `kafka-topics.sh` (Kafka 4.1, "Topic configs" of its documentation). Pure.

A topic that exists already stays as it is (`--if-not-exists`): the script may run before each start of a worker, and it
must, because Faust ignores a topic that is missing at its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from broker_config.configuration import KafkaSettings
from contracts.kafka_topic import TOPICS, Cleanup, KafkaTopic

SCRIPT_NAME: Final = "create-kafka-topics.sh"
COMPACTION_SEGMENT_MS: Final = 600_000
"""A segment that is being written is never compacted: at least every ten minutes a new one begins."""
_HEAD: Final = """\
#!/bin/sh
# Rendered by `broker-config render`; change the description, not this file.
# Usage: sh create-kafka-topics.sh HOST:PORT
# KAFKA_TOPICS: the command that manages topics; kafka-topics.sh of the PATH if it is not set.
set -euf
server=${1:?HOST:PORT of a Kafka server is wanted}
create() {
    ${KAFKA_TOPICS:-kafka-topics.sh} --bootstrap-server "$server" --create --if-not-exists "$@"
}
"""


def render_script(settings: KafkaSettings, topics: Iterable[KafkaTopic] = TOPICS) -> str:
    """The script that makes the topics that are not there."""
    return _HEAD + "".join(f"create {' '.join(topic_arguments(settings, topic))}\n" for topic in topics)


def topic_arguments(settings: KafkaSettings, topic: KafkaTopic) -> list[str]:
    """Arguments of `kafka-topics.sh --create` for a topic."""
    configuration = [argument for pair in topic_configuration(settings, topic) for argument in ("--config", pair)]
    return [
        *("--topic", topic.name),
        *("--partitions", str(settings.partitions)),
        *("--replication-factor", str(settings.replication_factor)),
        *configuration,
    ]


def topic_configuration(settings: KafkaSettings, topic: KafkaTopic) -> list[str]:
    """The topic's own settings, `name=value`."""
    in_sync = 2 if settings.replication_factor > 2 else 1  # one of three may be away, and nothing is acknowledged twice
    pairs = [f"cleanup.policy={topic.cleanup}", f"max.message.bytes={topic.message_bytes_max}"]
    pairs.append(f"min.insync.replicas={in_sync}")
    if topic.cleanup is Cleanup.COMPACT:
        pairs += [f"segment.ms={COMPACTION_SEGMENT_MS}", "min.cleanable.dirty.ratio=0.1"]
    else:
        pairs.append(f"retention.ms={topic.retention_ms}")
    return pairs


@dataclass(frozen=True, slots=True)
class TopicChange:
    """How a topic differs from what it should be."""

    topic: KafkaTopic
    what: str
    is_new: bool = False
    """It is not there."""
    is_hopeless: bool = False
    """It cannot be mended where it is: a person must decide."""


def plan_topics(settings: KafkaSettings, present: Mapping[str, tuple[int, Mapping[str, str]]]) -> list[TopicChange]:
    """What must be made or changed.

    Args:
        settings: what all topics have in common.
        present: of each topic that is there, its number of partitions and its settings.
    """
    changes: list[TopicChange] = []
    for topic in TOPICS:
        if topic.name not in present:
            changes.append(TopicChange(topic, f"topic {topic.name}: absent", is_new=True))
            continue
        partitions, pairs = present[topic.name]
        if partitions != settings.partitions:
            what = f"topic {topic.name}: {partitions} partitions, not {settings.partitions}: they cannot be changed"
            changes.append(TopicChange(topic, what, is_hopeless=True))
        wanted = (pair.split("=", 1) for pair in topic_configuration(settings, topic))
        other = [f"{name}={pairs.get(name)}, not {value}" for name, value in wanted if pairs.get(name) != value]
        if other:
            changes.append(TopicChange(topic, f"topic {topic.name}: {'; '.join(other)}"))
    return changes
