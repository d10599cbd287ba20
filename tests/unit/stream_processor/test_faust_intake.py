"""What of the Faust shell needs no Kafka: bounds and order of its intake, and whose acknowledgements count."""

from __future__ import annotations

import asyncio
import weakref

import pytest
from faust.types.tuples import Message

from stream_processor.distributed import faust_job
from stream_processor.distributed.faust_job import JobFailedError
from stream_processor.distributed.job_settings import JobSettings


class Event:
    """What the intake looks at of Faust's event."""

    def __init__(self, partition, offset, generation=1, value=b"x"):
        self.message = Message("observations", partition, offset, 0.0, 0, None, None, value, None)
        self.message.generation_id = generation
        self.value = value


def gathered(events, **settings):
    """What the first gathering gives of events that wait already."""

    async def gather():
        intake = faust_job._Intake(JobSettings(group="g", **settings))
        for event in events:
            await intake.put(event)
        return [each.message.offset for each in await intake.gather()]

    return asyncio.run(gather())


def test_what_waits_is_taken_together_up_to_the_bounds():
    events = [Event(0, offset, value=b"four") for offset in range(10)]
    assert gathered(events, gather_interval_s=0.0) == list(range(10))
    assert gathered(events[:3], gather_interval_s=0.0, gather_messages=3) == [0, 1, 2]
    assert gathered(events, gather_interval_s=0.0, gather_bytes=12) == [0, 1, 2]


def test_a_message_that_is_left_out_ends_the_job():
    with pytest.raises(JobFailedError, match="partition 0: offset 7 comes after 5"):
        gathered([Event(0, 5), Event(1, 9), Event(0, 7)])


def test_after_a_rebalance_a_partition_may_begin_anywhere_and_messages_may_come_again():
    events = [Event(0, 5), Event(0, 6), Event(0, 5), Event(0, 6), Event(0, 40, generation=2), Event(0, 3, generation=3)]
    assert gathered(events, gather_interval_s=0.0) == [5, 6, 5, 6, 40, 3]


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
        intake = faust_job._Intake(JobSettings(group="g", gather_messages=2))
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


def test_what_faust_skips_by_itself_is_not_acknowledged(monkeypatch):
    """Faust acknowledges messages of an older generation that are in a stream's queue: nobody has processed them."""
    counted = []
    monkeypatch.setattr(faust_job.faust_kafka.Consumer, "ack", lambda _, message: counted.append(message) or True)
    consumer = faust_job._DurableConsumer.__new__(faust_job._DurableConsumer)
    consumer.durable = weakref.WeakSet()
    skipped, taken = Event(0, 1).message, Event(0, 2).message
    consumer.durable.add(taken)
    assert not consumer.ack(skipped)
    assert consumer.ack(taken)
    assert counted == [taken]
