"""The Faust shell on a real Kafka: a test for each thing that faust-streaming 0.15.3 was known or seen to do wrong."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running_job import DEADLINE_S, Job, commit_ends, committed, write
from tests.running_kafka import RunningKafka, running_kafka

pytestmark = pytest.mark.needs_kafka

PARTITIONS = 2
EXIT_WEDGED = 70


@pytest.fixture(scope="module")
def kafka(tmp_path_factory) -> Iterator[RunningKafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


@pytest.fixture
def job(kafka, tmp_path) -> Iterator[Job]:
    """A job of a group of its own, whose offsets begin where the topic ends now."""
    made = Job(tmp_path, kafka.address, PARTITIONS)
    asyncio.run(commit_ends(kafka, made.group))
    yield made
    made.kill_all()


def listening_inodes(pid: int) -> set[str]:
    """Sockets of a process on which somebody could connect."""
    rows = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    listening = {row[9] for row in rows if row[3] == "0A"}
    targets = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()]
    return {target[8:-1] for target in targets if target.startswith("socket:[")} & listening


def test_messages_come_in_order_are_committed_at_the_end_and_nothing_listens(kafka, job):
    before = asyncio.run(committed(kafka, job.group))
    job.start()
    job.until_started()
    write(kafka, *(f"a{number}" for number in range(20)))
    write(kafka, "b", partition=1)
    job.until(lambda: job.taken() == 21)
    assert [value for value in job.taking() if value != "b"] == [f"a{number}" for number in range(20)]
    assert listening_inodes(job.process.pid) == set()
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(10.0) == 0
    assert job.told()[-1] == {"closed": True}
    after = asyncio.run(committed(kafka, job.group))
    assert {number: after[number] - before[number] for number in after} == {0: 20, 1: 1}


def test_a_crash_skips_no_message_that_was_in_flight(kafka, job):
    job.start()
    job.until_started()
    write(kafka, "one")
    job.until(lambda: job.taken() == 1)
    write(kafka, "slow", "two", "three")
    job.until(lambda: "slow" in job.taking())
    time.sleep(0.4)  # two commits
    job.process.kill()
    job.process.wait()
    job.start()
    job.until(lambda: job.taken() >= 3)
    assert [value for value in job.taking() if value != "one"] == ["slow", "two", "three"]


def test_an_error_of_the_handler_ends_the_process_and_commits_nothing_of_what_it_was_given(kafka, job):
    job.start()
    job.until_started()
    write(kafka, "good")
    job.until(lambda: job.taken() == 1)
    before = asyncio.run(committed(kafka, job.group))
    write(kafka, "fine", "raise", "after")
    assert job.process.wait(DEADLINE_S) == 1
    assert "as told" in job.log()
    after = asyncio.run(committed(kafka, job.group))
    assert after[0] - before[0] in {0, 1, 2}, "'good' perhaps, and 'fine' if it was taken alone"
    job.start()
    assert job.process.wait(DEADLINE_S) == 1, "the message is there again"
    assert "raise" in job.taking()
    assert "after" not in job.taking()


def test_a_cancellation_that_a_library_leaks_is_a_failure_and_no_stop(kafka, job):
    job.start()
    job.until_started()
    before = asyncio.run(committed(kafka, job.group))
    write(kafka, "leak")
    assert job.process.wait(DEADLINE_S) == 1, "a supervisor would take 0 for an end that was wanted"
    assert "job_failed" in job.log()
    assert asyncio.run(committed(kafka, job.group)) == before


def test_a_worker_whose_loop_is_stuck_is_ended(kafka, job):
    job.start("--watchdog-s", "3")
    job.until_started()
    write(kafka, "hang")
    assert job.process.wait(DEADLINE_S) == EXIT_WEDGED
    assert "worker_wedged" in job.log()


def test_a_worker_without_partitions_ends_itself_when_nobody_moves_one(kafka, job):
    """It may have failed to join, which nothing else would notice; a spare one loses nothing by starting again."""
    for options in ((), (), ("--watchdog-s", "1")):
        job.start(*options)
        job.until_started()
    write(kafka, "hang")
    assert job.process.wait(DEADLINE_S) == EXIT_WEDGED, job.log()[-2_000:]
    assert job.taking() == [], "it is one of the others that hangs"


def test_a_worker_that_only_believes_to_commit_is_ended(kafka, job):
    job.start("--watchdog-s", "3", "--lying-commits")
    job.until_started()
    write(kafka, "one", "two")
    assert job.process.wait(DEADLINE_S) == EXIT_WEDGED
    assert job.taken() == 2


def test_a_worker_that_says_what_it_waits_for_is_left_alone(kafka, job):
    job.start("--watchdog-s", "1")
    job.until_started()
    write(kafka, "wait")
    job.until(lambda: "wait" in job.taking())
    time.sleep(3.0)
    assert job.process.poll() is None
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(10.0) == 0


def test_a_worker_that_has_nothing_to_do_is_left_alone(kafka, job):
    job.start("--watchdog-s", "1")
    job.until_started()
    write(kafka, "one")
    job.until(lambda: job.taken() == 1)
    time.sleep(3.0)
    assert job.process.poll() is None


def test_a_topic_with_another_number_of_partitions_is_a_fault_of_the_configuration(kafka, tmp_path):
    job = Job(tmp_path, kafka.address, partitions=PARTITIONS + 1)
    job.start()
    assert job.process.wait(DEADLINE_S) == 2
    assert f"topic observations has {PARTITIONS} partitions, $.kafka.partitions is {PARTITIONS + 1}" in job.log()
