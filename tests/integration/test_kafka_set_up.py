"""`broker-config set-up-kafka` on a real Kafka: makes what is absent, mends what differs, says what it cannot mend."""

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.kafka_topic import TOPICS
from tests.running_kafka import running_kafka

ROOT = Path(__file__).parents[2]
DESCRIPTION = """
[persistence]
directory = "x"
[kafka]
partitions = {partitions}
[[host]]
password_file = "secret"
"""


def set_up(kafka, folder, *options, partitions=3):
    description = folder / "broker.toml"
    description.write_text(DESCRIPTION.format(partitions=partitions))
    command = (sys.executable, "-m", "broker_config.cli", "set-up-kafka", "--config", description)
    return subprocess.run(
        [*command, "--servers", kafka.address, *options], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.needs_kafka
def test_topics_are_made_once_checked_and_mended(tmp_path):
    with running_kafka(tmp_path / "kafka", partitions=3, topics=()) as kafka:
        before = set_up(kafka, tmp_path, "--check")
        assert before.returncode == 1
        assert before.stdout.splitlines() == [f"topic {topic.name}: absent" for topic in TOPICS]
        made = set_up(kafka, tmp_path)
        assert made.returncode == 0, made.stderr
        again = set_up(kafka, tmp_path, "--check")
        assert (again.returncode, again.stdout) == (0, f"{kafka.address}: ok\n")
        other = set_up(kafka, tmp_path, "--check", partitions=5)
        assert other.returncode == 2
        assert "topic observations: 3 partitions, not 5: they cannot be changed" in other.stdout


@pytest.mark.needs_kafka
def test_a_setting_that_somebody_changed_is_set_again(tmp_path):
    with running_kafka(tmp_path / "kafka", partitions=3) as kafka:
        kafka.alter("observations", {"retention.ms": "1000"})
        found = set_up(kafka, tmp_path, "--check")
        assert found.returncode == 1
        assert "topic observations: cleanup.policy=" not in found.stdout
        assert "retention.ms=1000, not 604800000" in found.stdout
        assert set_up(kafka, tmp_path).returncode == 0
        assert set_up(kafka, tmp_path, "--check").returncode == 0


def test_a_kafka_that_is_not_there_is_one_line(tmp_path):
    class Absent:
        address = "127.0.0.1:1"

    done = set_up(Absent(), tmp_path)
    assert done.returncode == 2
    assert "Kafka at 127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
