from __future__ import annotations

import asyncio

import pytest

from stream_processor.foreign_cancellation import foreign_cancellation_as_error


async def leak() -> None:
    """Awaits a task that something else has cancelled, as aiokafka does."""
    inner = asyncio.ensure_future(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


def test_a_cancellation_that_nobody_asked_for_is_an_error_of_the_connection():
    async def work():
        with foreign_cancellation_as_error("the consumer"):
            await leak()

    with pytest.raises(ConnectionAbortedError, match="the consumer was cancelled from within"):
        asyncio.run(work())


def test_a_cancelled_task_is_cancelled():
    async def work():
        with foreign_cancellation_as_error("the consumer"):
            await asyncio.sleep(60)

    async def cancel():
        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())


def test_a_time_out_inside_and_one_outside_stay_time_outs():
    async def inside():
        with foreign_cancellation_as_error("the consumer"):
            async with asyncio.timeout(0):
                await asyncio.sleep(60)

    async def outside():
        async with asyncio.timeout(0):
            with foreign_cancellation_as_error("the consumer"):
                await asyncio.sleep(60)

    for work in (inside, outside):
        with pytest.raises(TimeoutError):
            asyncio.run(work())


def test_after_a_time_out_that_was_handled_a_leak_is_still_an_error():
    async def work():
        with foreign_cancellation_as_error("the consumer"):
            try:
                async with asyncio.timeout(0):
                    await asyncio.sleep(60)
            except TimeoutError:
                await leak()

    with pytest.raises(ConnectionAbortedError):
        asyncio.run(work())
