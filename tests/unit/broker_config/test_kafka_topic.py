"""The script that makes Kafka's topics, run by a real shell with a `kafka-topics.sh` that notes its arguments."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from broker_config.configuration import KafkaSettings
from broker_config.kafka_topic import render_script
from contracts.kafka_topic import OBSERVATIONS, STATE_SNAPSHOTS, TOPICS, Cleanup


def created(tmp_path: Path, settings: KafkaSettings) -> dict[str, list[str]]:
    """Arguments of each call, by topic."""
    noted = tmp_path / "noted"
    (tmp_path / "topics").write_text(f'#!/bin/sh\necho "$@" >> {noted}\n')
    (tmp_path / "topics").chmod(0o755)
    script = tmp_path / "script.sh"
    script.write_text(render_script(settings))
    environment = {"PATH": "/usr/bin:/bin", "KAFKA_TOPICS": str(tmp_path / "topics")}
    subprocess.run(["/bin/sh", script, "127.0.0.1:9092"], env=environment, check=True, timeout=20)
    calls = [line.split() for line in noted.read_text().splitlines()]
    return {call[call.index("--topic") + 1]: call for call in calls}


def configuration(call: list[str]) -> dict[str, str]:
    pairs = [call[index + 1] for index, word in enumerate(call) if word == "--config"]
    return dict(pair.split("=", 1) for pair in pairs)


def test_every_topic_is_made_once_and_only_if_it_is_absent(tmp_path: Path) -> None:
    calls = created(tmp_path, KafkaSettings(partitions=12))
    assert set(calls) == {topic.name for topic in TOPICS}
    for call in calls.values():
        assert call[:4] == ["--bootstrap-server", "127.0.0.1:9092", "--create", "--if-not-exists"]
        assert call[call.index("--partitions") + 1] == "12"


def test_observations_end_by_age_and_snapshots_are_compacted(tmp_path: Path) -> None:
    calls = created(tmp_path, KafkaSettings())
    observations, snapshots = (configuration(calls[topic.name]) for topic in (OBSERVATIONS, STATE_SNAPSHOTS))
    assert observations["cleanup.policy"] == "delete"
    assert observations["retention.ms"] == str(7 * 24 * 3600 * 1000)
    assert snapshots["cleanup.policy"] == "compact"
    assert "retention.ms" not in snapshots
    assert int(snapshots["max.message.bytes"]) == STATE_SNAPSHOTS.message_bytes_max


@pytest.mark.parametrize(("copies", "in_sync"), [(1, "1"), (2, "1"), (3, "2")])
def test_a_write_is_on_two_servers_where_one_of_three_may_be_lost(tmp_path: Path, copies: int, in_sync: str) -> None:
    for call in created(tmp_path, KafkaSettings(replication_factor=copies)).values():
        assert call[call.index("--replication-factor") + 1] == str(copies)
        assert configuration(call)["min.insync.replicas"] == in_sync


def test_the_script_asks_for_the_server(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text(render_script(KafkaSettings()))
    run = subprocess.run(["/bin/sh", script], capture_output=True, text=True, timeout=20)
    assert run.returncode != 0
    assert "HOST:PORT of a Kafka server is wanted" in run.stderr


def test_a_topic_has_a_retention_unless_it_is_compacted() -> None:
    for topic in TOPICS:
        assert (topic.retention_ms is None) == (topic.cleanup is Cleanup.COMPACT)
