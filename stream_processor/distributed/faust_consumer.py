"""Faust's Kafka consumer as our jobs need it (shell): events are runs of messages, and what is durable is committed.

Faust 0.15.3 gives each message to its agents as an event of its own: four tasks, a lock and a dozen callbacks for each,
half a millisecond of a core. Here an event is a *run*, messages of one partition that were fetched together and follow
one another, so that this is paid once for many of them.

Faust acknowledges messages that it skips itself (fetched before a rebalance) and commits beyond a hole of one message
(`Consumer._new_offset`). None of that bookkeeping is used here: committed is what the job has called durable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from faust.transport.drivers import aiokafka as faust_kafka
from faust.types import TP, ConsumerMessage

from stream_processor.distributed.job import SourceMessage
from stream_processor.distributed.job_settings import JobSettings

FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of one partition at once."""


class MessageRun(NamedTuple):
    """Messages of one partition, in order of offset: one at least."""

    messages: tuple[SourceMessage, ...]
    byte_count: int


def split_fetched(messages: Iterable[SourceMessage], count_max: int, bytes_max: int) -> list[MessageRun]:
    """Messages of one partition in order as runs of at most `count_max`.

    A run ends when it has `bytes_max`: its last message may go beyond.
    """
    runs: list[MessageRun] = []
    taken: list[SourceMessage] = []
    byte_count = 0
    for message in messages:
        taken.append(message)
        byte_count += len(message.value)
        if len(taken) == count_max or byte_count >= bytes_max:
            runs.append(MessageRun(tuple(taken), byte_count))
            taken, byte_count = [], 0
    return [*runs, MessageRun(tuple(taken), byte_count)] if taken else runs


class DurableConsumer(faust_kafka.Consumer):
    """Faust's consumer. Its methods are called in the job's event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._settings = cast("DurableTransport", self.transport).settings
        self._durable: dict[TP, int] = {}
        """By partition: the offset after the last message that is durable, all before it included."""

    def mark_durable(self, message: Any) -> None:  # noqa: ANN401  # faust has no types
        """What an event's message carries is durable, and all that came before it in its partition.

        It counts only while the worker has its partitions by the same assignment: after another one Faust begins at
        what is committed, here or elsewhere.
        """
        if message.generation_id == self.app.consumer_generation_id:
            self._durable[message.tp] = message.offset + 1

    def ack(self, message: Any) -> bool:  # noqa: ANN401, ARG002
        """Called by Faust for whatever it has done with: that says nothing."""
        return False

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forgets what another worker will commit."""
        for place in revoked:
            self._durable.pop(place, None)
        await super().on_partitions_revoked(revoked)

    def on_buffer_full(self, tp: TP) -> None:
        """Nothing: Faust would leave out a partition whose runs wait, and sleep a second once all are left out.

        The stream's buffer is bounded, whoever puts a run into it waits, and what is fetched meanwhile is bounded.
        """

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:  # noqa: ASYNC109
        fetched = await super()._getmany(active_partitions, timeout)
        return {place: self._runs(place.partition, records) for place, records in fetched.items()}

    def _runs(self, partition: int, records: Sequence[Any]) -> list[MessageRun]:
        messages = (SourceMessage(partition, record.offset, record.value or b"") for record in records)
        return split_fetched(messages, self._settings.gather_messages, self._settings.gather_bytes)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:  # noqa: ANN401
        """A run as a message of Faust's: its offset is that of the last."""
        generation_id = self.app.consumer_generation_id
        offset = record.messages[-1].offset
        return ConsumerMessage(
            tp.topic, tp.partition, offset, 0.0, 0, None, None, record, None, 0, record.byte_count, tp,
            generation_id=generation_id,
        )  # fmt: skip

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: offsets of runs have holes between them. The job looks for messages that were left out."""

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:  # noqa: ARG002  # with acknowledgements
        return {place: offset for place, offset in self._durable.items() if self._should_commit(place, offset)}

    def _new_consumer_thread(self) -> faust_kafka.AIOKafkaConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)


class DurableTransport(faust_kafka.Transport):
    """Makes such consumers."""

    Consumer = DurableConsumer

    def __init__(self, url: Any, app: Any, settings: JobSettings) -> None:  # noqa: ANN401
        super().__init__(url, app)
        self.settings = settings


class _ConsumerThread(faust_kafka.AIOKafkaConsumerThread):
    """The thread in which aiokafka fetches."""

    def _create_worker_consumer(self, transport: faust_kafka.Transport) -> Any:  # noqa: ANN401
        """Faust has no setting for when a fetch is answered: aiokafka reads these at its start."""
        consumer = super()._create_worker_consumer(transport)
        settings = cast("DurableTransport", transport).settings
        consumer._fetch_min_bytes = settings.fetch_min_bytes  # noqa: SLF001
        consumer._fetch_max_wait_ms = round(1_000 * settings.fetch_wait_s)  # noqa: SLF001
        return consumer
