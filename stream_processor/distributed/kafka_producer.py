"""Writing to Kafka (shell): a set of messages is written whole, however long that takes.

The producer is idempotent and waits for all in-sync replicas: when `send` returns, every message is durable, and the
messages of a partition stand there in the order in which they were given. A cluster that is away is waited for with
back-off and jitter; then a message may stand there twice, which readers of our topics expect. What Kafka will never
take (too large) raises `MessageRefusedError`: the caller quarantines it.

aiokafka's idempotent producer retries for ever and never says so. One that has not answered for a while is therefore
thrown away with its connections, and what it was given is written by a new one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError

from stream_processor.distributed.kafka_compression import use_fast_lz4
from stream_processor.distributed.kafka_message import KafkaMessage
from stream_processor.distributed.kafka_settings import KafkaSettings
from stream_processor.errors import MessageRefusedError
from stream_processor.foreign_cancellation import foreign_cancellation_as_error

__all__ = ["LARGEST_MESSAGE_BYTES", "KafkaMessage", "KafkaProducer"]

_log = logging.getLogger("stream_processor.kafka_producer")

LARGEST_MESSAGE_BYTES = 8 * 1024 * 1024
UNANSWERED_S = 2.0
"""From then on `waiting_because` says so."""
ANSWERS_PER_TRY = 1.5
"""A producer that has not written after so many request time outs is thrown away."""
FLUSH_S = 1.0


class KafkaProducer:
    """One producer of one process. Tasks that write to the same partition must take turns."""

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._producer: AIOKafkaProducer | None = None
        self.waiting_because: str | None = None
        """Why `send` is waiting for Kafka now, if it is."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._drop()

    async def send(self, messages: Sequence[KafkaMessage]) -> None:
        """Writes all of them; returns when all are durable. Raises MessageRefusedError."""
        # An idempotent producer never gives a message up: without this, nobody would learn that it waits.
        note = asyncio.get_running_loop().call_later(UNANSWERED_S, self._note_wait, "no answer")
        try:
            await self._send(messages)
        finally:
            note.cancel()

    async def _send(self, messages: Sequence[KafkaMessage]) -> None:
        delay_s = self._settings.retry_first_s
        pending = list(messages)
        while pending:
            try:
                with foreign_cancellation_as_error("the Kafka producer"):
                    pending = await self._send_in_time(pending)
            except (KafkaError, OSError) as error:  # TimeoutError is an OSError
                self._note_wait(repr(error))
                await self._drop()
            if not pending:
                break
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, self._settings.retry_max_s)
        if messages and self.waiting_because is not None:
            _log.info("kafka_answers_again servers=%s", ",".join(self._settings.servers))
            self.waiting_because = None

    async def _send_in_time(self, messages: list[KafkaMessage]) -> list[KafkaMessage]:
        async with asyncio.timeout(ANSWERS_PER_TRY * self._settings.request_timeout_s):
            return await self._send_once(await self._connected(), messages)

    async def _send_once(self, producer: AIOKafkaProducer, messages: list[KafkaMessage]) -> list[KafkaMessage]:
        """Gives what must be sent again: from the first failure of a partition on, so that its order stays."""
        futures = []
        for message in messages:
            _check_size(message)
            futures.append(
                await producer.send(message.topic.name, message.value, key=message.key, partition=message.partition)
            )
        answers = await asyncio.gather(*futures, return_exceptions=True)
        failed: set[tuple[str, int]] = set()
        again = []
        for message, answer in zip(messages, answers, strict=True):
            place = (message.topic.name, message.partition)
            if isinstance(answer, BaseException):
                if not isinstance(answer, KafkaError | OSError) or isinstance(answer, MessageSizeTooLargeError):
                    raise answer
                failed.add(place)
                self._note_wait(repr(answer))
            if place in failed:
                again.append(message)
        if again:
            await self._drop()  # a producer that gave up a batch has lost its sequence of this partition
        return again

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            settings = self._settings
            use_fast_lz4()
            producer = AIOKafkaProducer(
                bootstrap_servers=list(settings.servers),
                client_id=self._client_id,
                acks="all",
                enable_idempotence=True,
                compression_type=None if settings.compression == "none" else settings.compression,
                max_request_size=LARGEST_MESSAGE_BYTES,
                max_batch_size=1_048_576,
                request_timeout_ms=round(1_000 * settings.request_timeout_s),
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _drop(self) -> None:
        """Ends the producer. One that cannot flush is ended all the same: it would go on trying beside the next."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        stopping = asyncio.ensure_future(producer.stop())
        await asyncio.wait([stopping], timeout=FLUSH_S)
        if not stopping.done():
            stopping.cancel()
            _end_flush(producer)
            stopping = asyncio.ensure_future(producer.client.close())
            await asyncio.wait([stopping], timeout=FLUSH_S)
        if stopping.done() and not stopping.cancelled() and (error := stopping.exception()) is not None:
            _log.info("kafka_producer_stop error=%r", error)

    def _note_wait(self, reason: str) -> None:
        if self.waiting_because is None:
            _log.warning("kafka_waiting servers=%s reason=%s", ",".join(self._settings.servers), reason)
        self.waiting_because = reason


def _end_flush(producer: AIOKafkaProducer) -> None:
    """What `stop` waits for, and would for ever while Kafka is away: aiokafka has no other way to give up."""
    if (sender := producer._sender.sender_task) is not None:  # noqa: SLF001
        sender.cancel()
    producer._message_accumulator.fail_all(KafkaConnectionError("given up"))  # noqa: SLF001


def _check_size(message: KafkaMessage) -> None:
    """Before anything is sent, so that nothing is half-done. A little room is left for what Kafka adds."""
    size = len(message.value or b"") + len(message.key or b"") + 1_024
    if size > message.topic.message_bytes_max:
        raise MessageRefusedError(
            f"{message.topic.name}: a message of {size} bytes, at most {message.topic.message_bytes_max} are allowed"
        )
