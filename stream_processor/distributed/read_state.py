"""What the read process knows from Kafka: last values, the gap ledger, quarantine, gateways, totals. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from contracts.errors import RecordError
from contracts.kafka_topic import GATEWAY_COMPLETENESS, GATEWAY_STATUS, QUARANTINE, SCORED
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import (
    BridgeHealth,
    CompletenessRow,
    GatewayCompleteness,
    GatewayHealth,
    PipelineHealth,
    QuarantinePage,
    QuarantineRow,
)
from contracts.record import UInt32s
from contracts.record_message import PartitionTotals, ScoredMessage
from stream_processor.detectors.contract import Rows
from stream_processor.distributed.gateway_status import BRIDGE_KEY
from stream_processor.distributed.scored_source import ScoredSource
from stream_processor.latest_table import LatestTable

NEWEST_QUARANTINE_ROWS: Final = 200
_ModelT = TypeVar("_ModelT", bound=BaseModel)
BRIDGE_SILENT_NS: Final = 25 * NANOSECONDS_PER_SECOND
"""A bridge tells how it is every ten seconds at least."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What waits on Kafka, as last counted."""

    messages: int = 0
    """Of `observations` and `observations.scored`, not yet in InfluxDB."""
    condition_events: int = 0
    """Of `alarm.conditions`, not yet in the alarm service's journal."""


class ChannelRows:
    """Rows for channels in the order in which they are first heard of. A row is never given up."""

    def __init__(self) -> None:
        self.channel_ids: UInt32s = np.zeros(0, np.uint32)
        self._sorted: UInt32s = np.zeros(0, np.uint32)
        self._order: Rows = np.zeros(0, np.intp)

    def add(self, channel_ids: UInt32s) -> bool:
        """Makes rows for channels that have none; says whether there were any."""
        places = np.searchsorted(self._sorted, channel_ids)
        is_known = places < len(self._sorted)
        is_known[is_known] = self._sorted[places[is_known]] == channel_ids[is_known]
        if is_known.all():
            return False
        new = np.unique(channel_ids[~is_known])
        self.channel_ids = np.concatenate([self.channel_ids, new])
        self._order = np.argsort(self.channel_ids)
        self._sorted = self.channel_ids[self._order]
        return True

    def rows_of(self, channel_ids: UInt32s) -> Rows:
        """The rows of channels that have one."""
        return self._order[np.searchsorted(self._sorted, channel_ids)]


class ReadState:
    """Takes messages of the topics that it reads, each in the order of its partition."""

    def __init__(self) -> None:
        self.latest = LatestTable()
        self.unreadable_total = 0
        """Messages that are not what their topic should hold."""
        self.lag = Lag()
        self._source = ScoredSource()
        self._rows = ChannelRows()
        self._newest: dict[int, tuple[int, PartitionTotals]] = {}
        self._status: dict[str, GatewayHealth] = {}
        self._bridges: dict[str, BridgeHealth] = {}
        self._completeness: dict[str, GatewayCompleteness] = {}
        self._quarantine_totals: Counter[str] = Counter()
        self._quarantined: deque[QuarantineRow] = deque(maxlen=NEWEST_QUARANTINE_ROWS)
        self.takers: Mapping[str, Callable[[int, bytes | None, bytes | None], None]] = MappingProxyType(
            {
                SCORED.name: self._take_scored,
                GATEWAY_STATUS.name: self._take_status,
                GATEWAY_COMPLETENESS.name: self._take_completeness,
                QUARANTINE.name: self._take_quarantine,
            }
        )
        """By topic: (partition, key, value)."""

    def take(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> None:
        """A message. One that cannot be read is counted."""
        try:
            self.takers[topic](partition, key, value)
        except (RecordError, ValidationError):
            self.unreadable_total += 1

    def know(self, channel_ids: UInt32s) -> None:
        """Makes room for channels of the fleet at once, which is cheaper than as they are heard of. Shows none."""
        if self._rows.add(channel_ids):
            self.latest.grow(self._rows.channel_ids)

    def next_source_offsets(self) -> Mapping[int, int]:
        """By partition: the message of `observations` that is to be scored next, as far as we have heard."""
        return {partition: offset + 1 for partition, (offset, _) in self._newest.items()}

    def completeness(self) -> list[CompletenessRow]:
        """The whole ledger."""
        return [row for _, gateway in sorted(self._completeness.items()) for row in gateway.epochs]

    def quarantine_page(self) -> QuarantinePage:
        """Totals per reason as far back as the topic goes (30 days), and the newest rows, newest first."""
        newest = sorted(self._quarantined, key=lambda row: -row.received_ns)
        return QuarantinePage(totals=dict(sorted(self._quarantine_totals.items())), newest=newest)

    def health(self, now_ns: int) -> PipelineHealth:
        """Sums over all partitions, as of the newest message of each."""
        totals = [each for _, each in self._newest.values()]
        gateways = [gateway for _, gateway in sorted(self._status.items())]
        bridges = [each for each in self._bridges.values() if now_ns - each.told_ns < BRIDGE_SILENT_NS]
        return PipelineHealth(
            is_broker_connected=bool(bridges) and all(each.is_broker_connected for each in bridges),
            stored_observations_total=sum(each.observations for each in totals),
            duplicate_batches_total=sum(each.duplicate_batches for each in totals),
            quarantined_total=self._quarantine_totals.total(),
            unscored_batches_total=sum(each.unscored_messages for each in totals),
            shed_batches_total=sum(each.shed_batches_total for each in bridges),
            queued_batches=self.lag.messages,
            outbox_events=self.lag.condition_events,
            gateways=gateways,
        )

    def _take_scored(self, partition: int, _key: bytes | None, value: bytes | None) -> None:
        message = self._source.take(partition, value or b"")
        if message is None:
            return
        self._newest[partition] = (message.source_offset, message.totals)
        self._make_rows(message)
        record = message.record
        if len(record):
            rows = self._rows.rows_of(record.channel_id)
            self.latest.take_columns(
                rows, message.event_ns, record, record.reason, message.score_ewma_z, message.other_scores
            )
        for lost in message.channels_lost:
            lost_rows = self._rows.rows_of(np.array(lost.channel_ids, np.uint32))
            self.latest.take_lost(lost_rows, lost.reason, lost.time_ns)

    def _make_rows(self, message: ScoredMessage) -> None:
        lost = [np.array(each.channel_ids, np.uint32) for each in message.channels_lost]
        self.know(np.concatenate([message.record.channel_id, *lost]))

    def _take_status(self, _partition: int, key: bytes | None, value: bytes | None) -> None:
        if (key or b"").startswith(BRIDGE_KEY.encode()):
            _take_newest(self._bridges, BridgeHealth, key, value)
        else:
            _take_newest(self._status, GatewayHealth, key, value)

    def _take_completeness(self, _partition: int, key: bytes | None, value: bytes | None) -> None:
        _take_newest(self._completeness, GatewayCompleteness, key, value)

    def _take_quarantine(self, _partition: int, _key: bytes | None, value: bytes | None) -> None:
        row = QuarantineRow.model_validate_json(value or b"")
        self._quarantine_totals[row.reason] += 1
        self._quarantined.append(row)


def _take_newest(rows: dict[str, _ModelT], model: type[_ModelT], key: bytes | None, value: bytes | None) -> None:
    """A compacted topic's message: the newest of its key counts, none means gone."""
    name = (key or b"").decode(errors="replace")
    if value is None:
        rows.pop(name, None)
    else:
        rows[name] = model.model_validate_json(value)


def lag_of(
    ends: Mapping[int, int], begins: Mapping[int, int], taken: Mapping[int, int], partitions: Iterable[int]
) -> int:
    """Messages of a topic that are not taken: `taken` is the next offset by partition; absent: nothing was taken."""
    return sum(max(0, ends[each] - max(begins[each], taken.get(each, 0))) for each in partitions)
