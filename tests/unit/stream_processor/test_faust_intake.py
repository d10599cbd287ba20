"""What of the Faust shell needs no Kafka: runs of messages, bounds and order of the intake, and what is committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from types import SimpleNamespace

import pytest
from faust.types.tuples import TP, Message

from stream_processor.distributed import faust_job
from stream_processor.distributed.faust_consumer import DurableConsumer, MessageRun, split_fetched
from stream_processor.distributed.faust_job import JobFailedError
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings


class Event:
    """What the intake looks at of Faust's event: a run of messages of these offsets."""

    def __init__(self, partition, *offsets, generation=1, value=b"x"):
        messages = tuple(SourceMessage(partition, offset, value) for offset in offsets)
        self.value = MessageRun(messages, len(value) * len(messages))
        self.message = Message("observations", partition, offsets[-1], 0.0, 0, None, None, None, None)
        self.message.generation_id = generation


def gathered(events, times=1, **settings):
    """Offsets that the first gatherings give, while the agent puts events as there is room."""

    async def gather():
        intake = faust_job._Intake(JobSettings(group="g", gather_interval_s=0.05, **settings))

        async def put_all():
            for event in events:
                await intake.put(event)

        putting = asyncio.create_task(put_all())
        for _ in range(5):
            await asyncio.sleep(0)
        found = [
            [message.offset for event in await intake.gather() for message in event.value.messages]
            for _ in range(times)
        ]
        putting.cancel()
        return found

    return asyncio.run(gather())


def messages(count, value=b"four"):
    return [SourceMessage(3, offset, value) for offset in range(count)]


def test_what_was_fetched_together_is_split_into_runs_within_the_bounds():
    runs = split_fetched(messages(10), count_max=4, bytes_max=1_000)
    assert [len(run.messages) for run in runs] == [4, 4, 2]
    assert [message for run in runs for message in run.messages] == messages(10)
    runs = split_fetched(messages(5), count_max=100, bytes_max=7)
    assert [run.byte_count for run in runs] == [8, 8, 4], "the last message may go beyond"
    assert split_fetched([], 4, 1_000) == []


def test_what_waits_is_taken_together_up_to_the_bounds():
    events = [Event(0, 2 * at, 2 * at + 1, value=b"four") for at in range(5)]
    assert gathered(events) == [list(range(10))]
    assert gathered(events, gather_messages=6, times=2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]
    assert gathered(events, gather_bytes=24, times=2) == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9]]


def test_a_run_that_would_go_beyond_the_bounds_is_the_first_of_the_next_gathering():
    events = [Event(0, 0, 1, 2), Event(0, 3, 4, 5), Event(1, 7)]
    assert gathered(events, gather_messages=5, times=2) == [[0, 1, 2], [3, 4, 5, 7]]


def test_a_message_that_is_left_out_ends_the_job():
    with pytest.raises(JobFailedError, match="partition 0: offset 7 comes after 5"):
        gathered([Event(0, 4, 5), Event(1, 9), Event(0, 7)])
    with pytest.raises(JobFailedError, match="partition 0: offset 7 comes after 5"):
        gathered([Event(0, 4, 5, 7)])


def test_after_a_rebalance_a_partition_may_begin_anywhere_and_messages_may_come_again():
    events = [Event(0, 5, 6), Event(0, 5, 6), Event(0, 40, generation=2), Event(0, 3, generation=3)]
    assert gathered(events) == [[5, 6, 5, 6, 40, 3]]


def test_a_stream_that_ends_ends_the_job():
    async def gather():
        intake = faust_job._Intake(JobSettings(group="g", gather_interval_s=0.0))
        await intake.put(Event(0, 1))
        intake.fail("the stream has ended")
        await intake.gather()

    with pytest.raises(JobFailedError, match="the stream has ended"):
        asyncio.run(gather())


def test_a_full_intake_makes_the_agent_wait():
    async def put_three():
        intake = faust_job._Intake(JobSettings(group="g"))
        await intake.put(Event(0, 0))
        await intake.put(Event(0, 1))
        third = asyncio.create_task(intake.put(Event(0, 2)))
        for _ in range(10):
            await asyncio.sleep(0)
        is_waiting = not third.done()
        await intake.gather()
        await third
        return is_waiting

    assert asyncio.run(put_three())


@pytest.fixture
def consumer():
    """Without Faust's start: what it commits is a function of these few."""
    made = DurableConsumer.__new__(DurableConsumer)
    made.app = SimpleNamespace(consumer_generation_id=7)
    made._durable = {}
    made._committed_offset = defaultdict(lambda: None)
    return made


PLACE = TP("observations", 0)


def test_committed_is_what_is_durable_and_no_acknowledgement_of_fausts(consumer):
    """Faust acknowledges messages of an older generation that are in a stream's queue: nobody has processed them."""
    assert not consumer.ack(Event(0, 1, 2, generation=7).message)
    assert consumer._filter_committable_offsets([PLACE]) == {}
    consumer.mark_durable(Event(0, 1, 2, 3, generation=7).message)
    assert consumer._filter_committable_offsets([]) == {PLACE: 4}
    consumer._committed_offset[PLACE] = 4
    assert consumer._filter_committable_offsets([]) == {}, "it was committed"


def test_what_was_taken_before_a_rebalance_is_not_committed_after_it(consumer):
    consumer.mark_durable(Event(0, 9, generation=6).message)
    assert consumer._filter_committable_offsets([PLACE]) == {}
