"""Reads what the score job has written so far (shell): topic `observations.scored`, each message once.

Messages that come twice (a worker was killed between writing and committing) are skipped by `source_offset`, as every
reader of the topic does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator

import numpy as np
import pyarrow as pa
from aiokafka import AIOKafkaConsumer

from contracts.kafka_topic import SCORED
from contracts.record_message import ScoredMessage, decode_scored
from simulators.errors import LoadError


def read_scored(address: str, gateway_ids: Container[str], epochs: tuple[int, int]) -> pa.Table:
    """Rows of these gateways and epochs: gateway_id, channel_id, time_ms, value (NaN is NULL), reason.

    Raises LoadError if the topic is not there, RecordError if a message is none, KafkaError if Kafka does not answer.
    """
    tables = [table for message in asyncio.run(_read_all(address)) for table in _tables(message, gateway_ids, epochs)]
    return pa.concat_tables([_EMPTY, *tables])


_EMPTY = pa.schema(
    [
        ("gateway_id", pa.string()),
        ("channel_id", pa.uint32()),
        ("time_ms", pa.int64()),
        ("value", pa.float64()),
        ("reason", pa.int64()),
    ]
).empty_table()


async def _read_all(address: str) -> list[ScoredMessage]:
    consumer = AIOKafkaConsumer(SCORED.name, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        places = list(consumer.assignment())
        if not places:
            raise LoadError(f"{address}: there is no topic {SCORED.name}")
        ends = await consumer.end_offsets(places)
        messages: list[ScoredMessage] = []
        taken = dict.fromkeys(places, -1)
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for place, values in (await consumer.getmany(timeout_ms=500)).items():
                for value in values:
                    message = decode_scored(value.value)
                    if message.source_offset > taken[place]:
                        taken[place] = message.source_offset
                        messages.append(message)
        return messages
    finally:
        await consumer.stop()


def _tables(message: ScoredMessage, gateway_ids: Container[str], epochs: tuple[int, int]) -> Iterator[pa.Table]:
    """The rows of a message by batch, those of other gateways and runs left out."""
    record = message.record
    for index, batch in enumerate(record.batches):
        if batch is None or batch.gateway_id not in gateway_ids or not epochs[0] <= batch.epoch <= epochs[1]:
            continue
        of_batch = np.flatnonzero(record.batch_index == index)
        value = record.value[of_batch]
        yield pa.table(
            {
                "gateway_id": pa.array([batch.gateway_id] * len(of_batch), pa.string()),
                "channel_id": record.channel_id[of_batch],
                "time_ms": record.phenomenon_ns[of_batch] // 1_000_000,
                "value": pa.array(value, mask=np.isnan(value)),
                "reason": record.reason[of_batch].astype(np.int64),
            }
        )
