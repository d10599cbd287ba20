"""The Faust shell when Kafka is away: at the start, in between, at the end."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.running_job import Job, committed, write
from tests.running_kafka import free_port, running_kafka

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 2


def test_a_worker_goes_on_when_kafka_comes_back_and_stops_though_it_is_gone_again(tmp_path):
    with running_kafka(tmp_path / "kafka", PARTITIONS) as kafka:
        job = Job(tmp_path, kafka.address, PARTITIONS)
        job.start()
        try:
            job.until_started()
            write(kafka, "one", "slow")
            job.until(lambda: "slow" in job.taking())
            kafka.kill()
            kafka.start()
            write(kafka, "two", "three")
            job.until(lambda: "three" in job.taking() and job.told()[-1] != {"taking": [0, 3], "value": "three"})
            job.until(lambda: asyncio.run(committed(kafka, job.group)).get(0) == 4)
            kafka.kill()
            job.process.send_signal(signal.SIGTERM)
            assert job.process.wait(10.0) == 0
        finally:
            job.kill_all()


def test_a_worker_that_fails_without_kafka_ends_soon_and_says_why(tmp_path):
    """Faust was seen to need a minute for it, in which nobody scores."""
    with running_kafka(tmp_path / "kafka", PARTITIONS) as kafka:
        job = Job(tmp_path, kafka.address, PARTITIONS)
        job.start()
        try:
            job.until_started()
            write(kafka, "fail-late")
            job.until(lambda: "fail-late" in job.taking())
            kafka.kill()
            assert job.process.wait(15.0) == 1
            assert "ZeroDivisionError: as told" in job.log()
        finally:
            job.kill_all()


def test_a_worker_waits_for_a_kafka_that_is_not_there_yet_and_can_be_stopped_meanwhile(tmp_path):
    job = Job(tmp_path, f"127.0.0.1:{free_port()}", PARTITIONS)
    job.start()
    try:
        job.until(lambda: "kafka_waiting" in job.log())
        job.process.send_signal(signal.SIGTERM)
        assert job.process.wait(10.0) == 0
    finally:
        job.kill_all()
