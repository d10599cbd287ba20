"""A job for tests of the Faust shell, run as a process: it prints what it takes, and does what it is told.

A message `raise` fails, `leak` is cancelled from within, `fail-late` fails after three seconds, `hang` blocks the event
loop, `slow` takes a second, `wait` waits with a reason.
`--lying-commits`: Faust believes that offsets are committed, and the broker never hears of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Sequence

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from contracts.kafka_topic import OBSERVATIONS
from stream_processor.distributed.faust_job import run_job
from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings
from stream_processor.distributed.kafka_settings import KafkaSettings


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


class RecordingHandler:
    """Says what it takes."""

    def __init__(self) -> None:
        self.waiting_because: str | None = None

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        for message in messages:
            tell(taking=[message.partition, message.offset], value=message.value.decode())
            await self._obey(message.value)
        tell(taken=[[message.partition, message.offset] for message in messages])

    async def _obey(self, value: bytes) -> None:
        if value == b"raise":
            raise ZeroDivisionError("as told")
        if value == b"leak":
            raise asyncio.CancelledError
        if value == b"fail-late":
            await asyncio.sleep(3.0)
            raise ZeroDivisionError("as told")
        if value == b"hang":
            time.sleep(3_600.0)  # noqa: ASYNC251  # a stuck loop is what is wanted
        if value == b"slow":
            await asyncio.sleep(1.0)
        if value == b"wait":
            self.waiting_because = "as told"
            await asyncio.sleep(3_600.0)

    async def tick(self) -> None:
        tell(tick=True)


@contextlib.asynccontextmanager
async def build_handler() -> AsyncIterator[RecordingHandler]:
    yield RecordingHandler()
    tell(closed=True)


async def lie(_thread: object, _offsets: object) -> bool:
    return True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("partitions", type=int)
    parser.add_argument("group")
    parser.add_argument("--watchdog-s", type=float, default=60.0)
    parser.add_argument("--lying-commits", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    if options.lying_commits:
        AIOKafkaConsumerThread.commit = lie
    settings = JobSettings(
        group=options.group,
        commit_interval_s=0.2,
        session_timeout_s=6.0,
        watchdog_s=options.watchdog_s,
        stop_timeout_s=5.0,
    )
    kafka = KafkaSettings(servers=(options.address,), partitions=options.partitions, request_timeout_s=3.0)
    sys.exit(run_job(settings, kafka, OBSERVATIONS, build_handler))


if __name__ == "__main__":
    main()
