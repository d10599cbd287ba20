"""The channel behind the bridge: order, bounds, what is shed and what never is."""

from __future__ import annotations

import asyncio

from contracts.notice import ChannelsLost, Quarantined
from contracts.quality import Reason
from stream_processor.bounded_channel import ALLOWANCE_ROWS, BoundedChannel
from stream_processor.effects import BatchReceived

TOPIC = "spBv1.0/harbour/DDATA/gw-9/b"


def lost(gateway: str = "gw-1") -> ChannelsLost:
    return ChannelsLost(gateway, (11,), Reason.GATEWAY_LOST, 1)


def test_what_finds_no_room_is_shed_and_counted_and_the_rest_keeps_its_order(record_of):
    channel = BoundedChannel(3 * (ALLOWANCE_ROWS + 1))
    batches = [BatchReceived("gw-1", None, record_of((11, 0, float(number)), batch=None)) for number in range(5)]
    for each in batches:
        channel.put(each)
    channel.put(lost())
    assert channel.shed_batches_total == 2
    assert channel.take(1_000) == [*batches[:3], lost()]
    for each in batches:
        channel.put(each)
    assert channel.take(1_000) == batches[:3], "there is as much room as before"


def test_bad_input_is_bounded_too():
    channel = BoundedChannel(1_000)
    for _ in range(10):
        channel.put(Quarantined(1, TOPIC, "not_a_payload", "", bytes(10_000)))
    assert channel.shed_quarantined_total == 10 - channel.batch_count
    assert 0 < channel.batch_count < 5


def test_one_batch_larger_than_the_channel_is_taken_when_nothing_else_waits(record_of):
    channel = BoundedChannel(10)
    large = BatchReceived("gw-1", None, record_of(*((11, 0, 1.0) for _ in range(50)), batch=None))
    channel.put(large)
    channel.put(large)
    assert channel.take(1_000) == [large]
    assert channel.shed_batches_total == 1


def test_waiting_ends_with_the_first_effect_or_with_the_time():
    async def both() -> None:
        channel = BoundedChannel(100)
        await asyncio.wait_for(channel.wait(0.01), 5)
        assert channel.is_empty
        waiting = asyncio.create_task(channel.wait(1_000))
        await asyncio.sleep(0)
        channel.put(lost())
        await asyncio.wait_for(waiting, 5)
        assert not channel.is_empty

    asyncio.run(both())
