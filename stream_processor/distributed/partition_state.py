"""What the score job knows of one partition, and what it says of each of its messages. Pure.

    ObservationMessage → deduplicate by batch → Pipeline.step → ledger, hours → Outcome

The state after a message is a function of the partition's log up to it and of the fleet alone: whoever restores a
snapshot and replays the log from there has the same state, bit for bit, and says the same. There is no clock in it but
the log's own (`made_ns`), except the time of detection that condition events carry, and when forests of groups were
refitted (`stream_processor.pipeline.group_scores`).
"""

from __future__ import annotations

import json
import struct
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Final, Self

import numpy as np

from contracts.alarm import ConditionEvent
from contracts.errors import ContractError, RecordError
from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS
from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.query import GatewayCompleteness, HourCompleteness
from contracts.ranges import BATCH_MAX, RangeSet
from contracts.record import Bools, Int64s, Record, concatenate, empty_record, select
from contracts.record_message import (
    HourOfGateway,
    ObservationMessage,
    PartitionTotals,
    ScoredMessage,
    decode_observations,
)
from contracts.score_columns import drop_empty_scores, select_scores
from contracts.uplink import BatchIdentity
from contracts.uplink_command import UplinkCommand, UplinkCommandKind
from stream_processor.fleet_index import FleetIndex
from stream_processor.gap_ledger import GapLedger, LedgerRow
from stream_processor.gap_request import GapRequests
from stream_processor.hour_completeness import HourLedger
from stream_processor.pipeline.pipeline import Pipeline, Scored, join_scored, unscored

HOURS_INTERVAL_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""How often changed hours are told."""
COMPLETENESS_INTERVAL_NS: Final = 60 * NANOSECONDS_PER_SECOND
"""How often a gateway's ledger is told, if it has changed."""
GAPS_TOLD_INTERVAL_NS: Final = 10 * NANOSECONDS_PER_SECOND
"""How often it is told if it has gaps, or had some when it was told last: that is what somebody looks for."""
GAP_INTERVAL_NS: Final = 5 * NANOSECONDS_PER_SECOND
"""How often gaps are looked for."""
_INTERVALS_NS: Final[Mapping[str, int]] = {
    "hours": HOURS_INTERVAL_NS,
    "completeness": COMPLETENESS_INTERVAL_NS,
    "gaps_told": GAPS_TOLD_INTERVAL_NS,
    "gaps": GAP_INTERVAL_NS,
}
GROUP_ROWS: Final = 8_000
"""So many readings at most in one step of the pipeline (and what the last message brings beyond it)."""
NEVER_NS: Final = 0
NOT_A_RECORD: Final = "not_a_record"
"""Quarantine reason: a message of `observations` that is none."""
QUARANTINED_PAYLOAD_BYTES: Final = 4 * 1024
_MAGIC: Final = b"citysense partition 1\n"
_NO_TIME_NS: Final = int(np.iinfo(np.int64).min)
_LENGTHS: Final = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from one message."""

    scored: ScoredMessage
    events: tuple[ConditionEvent, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    completeness: tuple[GatewayCompleteness, ...] = ()
    commands: tuple[UplinkCommand, ...] = ()
    """Requests to send missing batches again."""
    failures: tuple[str, ...] = ()
    """Traces of what the pipeline raised: defects of ours, for the log."""


@dataclass(slots=True)
class _Fresh:
    """What of a message is no duplicate."""

    record: Record
    duplicates: list[BatchIdentity]
    quarantined: list[Quarantined]
    thinned: frozenset[BatchIdentity]
    """Batches that their gateway sent without some of their readings, or without all."""


class PartitionState:
    """The state of one partition. `take` its messages in order of offset."""

    def __init__(self, partition: int, fleet: FleetSnapshot) -> None:
        """`fleet` holds the gateways of this partition (`restrict_fleet`)."""
        self.partition = partition
        self.next_offset = 0
        """The offset after the last message that was taken."""
        self.made_ns = NEVER_NS
        """The log's time."""
        self.totals = PartitionTotals()
        self.ledger = GapLedger()
        self.pipeline = Pipeline()
        self._hours = HourLedger()
        self._requests = GapRequests()
        self._districts: dict[str, str] = {}
        self._touched: set[str] = set()
        """Gateways whose ledger has changed since it was told."""
        self._told_gaps: set[str] = set()
        """Gateways that had gaps when they were told last."""
        self._gappy: set[str] = set()
        """Gateways that had gaps at the last look."""
        self._suspects: set[str] = set()
        """Gateways that may have gaps now: the same, and those that were heard since."""
        self._told_ns = dict.fromkeys(_INTERVALS_NS, NEVER_NS)
        self.revision = fleet.revision
        self.take_fleet(fleet)

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new fleet revision, between two messages."""
        self.revision = fleet.revision
        self.pipeline.take_fleet(FleetIndex(fleet), self.made_ns)
        self._hours.take_fleet(fleet)
        self._districts = {row.gateway_id: row.district_id for row in fleet.gateways}

    def knows_all(self, record: Record) -> bool:
        """Whether all channels are in the fleet that this state was given."""
        return self.pipeline.channels.has_all(record.channel_id)

    def take(self, offset: int, message: ObservationMessage, detected_ns: int) -> Outcome:
        """Takes the next message.

        Args:
            offset: where it stands; not before `next_offset`.
            message: what the bridge heard.
            detected_ns: our clock, for the events.
        """
        return self.take_all([(offset, message)], detected_ns)[0]

    def take_all(self, run: Sequence[tuple[int, ObservationMessage]], detected_ns: int) -> list[Outcome]:
        """Takes the next messages, (offset, message) in order: the same as one after another, for less.

        A step of the pipeline costs as much for being one as a thousand readings cost. What is said of several messages
        in one step is told with the first of them.
        """
        outcomes: list[Outcome] = []
        group: list[tuple[int, ObservationMessage]] = []
        row_count = 0
        for offset, message in run:
            group.append((offset, message))
            row_count += len(message.record)
            if row_count >= GROUP_ROWS or self._must_end_group(message):
                outcomes += self._take_group(group, detected_ns)
                group, row_count = [], 0
        return outcomes + (self._take_group(group, detected_ns) if group else [])

    def _must_end_group(self, message: ObservationMessage) -> bool:
        """Whether more than readings follows from it, which the next message must find done."""
        return bool(
            message.channels_lost
            or message.batches_lost
            or self.pipeline.is_look_due(message.made_ns)
            or any(self._is_time(message.made_ns, what) for what in self._told_ns)
        )

    def _take_group(self, group: Sequence[tuple[int, ObservationMessage]], detected_ns: int) -> list[Outcome]:
        fresh = [self._deduplicate(message) for _, message in group]
        scored = self._score_together([each.record for each in fresh], detected_ns)
        return [self._conclude(*each) for each in zip(group, fresh, scored, strict=True)]

    def _conclude(
        self, taken: tuple[int, ObservationMessage], fresh: _Fresh, result: tuple[Scored, tuple[str, ...]]
    ) -> Outcome:
        """What follows from a message, once its readings are scored."""
        offset, message = taken
        scored, failures = result
        self._advance(offset, message.made_ns)
        self._count(fresh, scored, is_unscored=bool(failures))
        self._note_lost(message.batches_lost, message.channels_lost)
        self._note_hours(scored, fresh.thinned)
        stale = self.pipeline.find_stale(self.made_ns)
        completeness, commands = self._tell_completeness(), self._ask_for_gaps()
        return Outcome(
            scored=ScoredMessage(
                source_offset=offset,
                made_ns=message.made_ns,
                record=replace(scored.record, reason=scored.reason),
                event_ns=scored.event_ns,
                score_ewma_z=scored.score_ewma_z,
                is_late=scored.is_late,
                other_scores=scored.other_scores,
                duplicates=tuple(fresh.duplicates),
                batches_lost=message.batches_lost,
                channels_lost=(*message.channels_lost, *stale),
                completeness=tuple(self._tell_hours()),
                totals=self.totals,
            ),
            events=tuple(scored.events),
            quarantined=tuple(fresh.quarantined),
            completeness=completeness,
            commands=commands,
            failures=failures,
        )

    def parse(self, value: bytes, after_ns: int | None = None) -> ObservationMessage:
        """The message that bytes are. What is none is quarantined, with a message without rows in its place.

        Args:
            value: what stands in Kafka.
            after_ns: the time of the message before it, if that has not been taken yet.
        """
        try:
            message = decode_observations(value)
            _check(message)
        except RecordError as error:
            made_ns = self.made_ns if after_ns is None else after_ns
            payload = value[:QUARANTINED_PAYLOAD_BYTES]
            bad = Quarantined(made_ns, OBSERVATIONS.name, NOT_A_RECORD, str(error), payload)
            return ObservationMessage(made_ns, empty_record(), quarantined=((None, bad),))
        return message

    def snapshot(self) -> bytes:
        """The state as versioned bytes, without the fleet."""
        head = {
            "partition": self.partition,
            "next_offset": self.next_offset,
            "made_ns": self.made_ns,
            "totals": astuple(self.totals),
            "ledger": self.ledger.export(),
            "touched": sorted(self._touched),
            "told_gaps": sorted(self._told_gaps),
            "gappy": sorted(self._gappy),
            "told_ns": self._told_ns,
        }
        text, hours = json.dumps(head, separators=(",", ":")).encode(), self._hours.snapshot()
        return b"".join((_MAGIC, _LENGTHS.pack(len(text), len(hours)), text, hours, self.pipeline.snapshot()))

    @classmethod
    def restore(cls, snapshot: bytes, fleet: FleetSnapshot) -> Self:
        """The state that `snapshot` says, with the fleet of now. Raises ValueError if it is none of this version."""
        head, hours, pipeline = _parse_snapshot(snapshot)
        state = cls(int(head["partition"]), FleetSnapshot(revision=fleet.revision))
        state.next_offset = int(head["next_offset"])
        state.made_ns = int(head["made_ns"])
        state.totals = PartitionTotals(*head["totals"])
        try:
            state.ledger.restore(map(_ledger_row, head["ledger"]))
        except ContractError as error:
            raise ValueError(f"ledger of the snapshot: {error}") from error
        state._touched = set(head["touched"])
        state._told_gaps = set(head["told_gaps"])
        state._gappy = set(head["gappy"])
        state._told_ns = {name: int(head["told_ns"][name]) for name in state._told_ns}
        state._suspects = {gateway_id for gateway_id, *_ in head["ledger"]}
        state._hours.restore(hours)
        state.pipeline = Pipeline()
        state.pipeline.restore(pipeline)
        state.take_fleet(fleet)
        return state

    def _deduplicate(self, message: ObservationMessage) -> _Fresh:
        record, ledger = message.record, self.ledger
        is_fresh = np.ones(len(record.batches), dtype=np.bool_)
        duplicates: list[BatchIdentity] = []
        for at, identity in enumerate(record.batches):
            if identity is not None and not ledger.record_new(identity):
                duplicates.append(identity)
                is_fresh[at] = False
        self._touch({identity.gateway_id for identity in record.batches if identity is not None})
        quarantined = [bad for at, bad in message.quarantined if at is None or is_fresh[at]]
        thinned = self._note_thinned(message, is_fresh)
        return _Fresh(_without_batches(record, is_fresh), duplicates, quarantined, thinned)

    def _note_thinned(self, message: ObservationMessage, is_fresh: Bools) -> frozenset[BatchIdentity]:
        """The ledger learns how many readings new batches came without. Gives those batches."""
        thinned = set()
        for at, readings in message.thinned:
            identity = message.record.batches[at]
            if identity is not None and is_fresh[at]:
                self.ledger.record_thinned(identity.gateway_id, identity.epoch, readings)
                thinned.add(identity)
        return frozenset(thinned)

    def _score_together(self, records: Sequence[Record], detected_ns: int) -> list[tuple[Scored, tuple[str, ...]]]:
        """Should the pipeline fail, message by message."""
        if len(records) == 1:
            return [self._score(records[0], detected_ns)]
        try:
            together = self.pipeline.step(concatenate(records), detected_ns)
        except Exception:  # noqa: BLE001  # whatever a defect of ours raises, data must not be lost for it
            return [self._score(record, detected_ns) for record in records]
        return [(scored, ()) for scored in _split_scored(together, records)]

    def _score(self, record: Record, detected_ns: int) -> tuple[Scored, tuple[str, ...]]:
        """Should the pipeline fail, batch by batch, so that only the one that it cannot take goes unscored."""
        try:
            return self.pipeline.step(record, detected_ns), ()
        except Exception:  # noqa: BLE001  # whatever a defect of ours raises, data must not be lost for it
            failures = [traceback.format_exc()]
        parts = []
        for part in _split_batches(record):
            try:
                parts.append(self.pipeline.step(part, detected_ns))
            except Exception:  # noqa: BLE001
                failures.append(traceback.format_exc())
                parts.append(unscored(self.pipeline, part))
        return join_scored(parts or [unscored(self.pipeline, record)]), tuple(failures)

    def _advance(self, offset: int, made_ns: int) -> None:
        self.next_offset = offset + 1
        self.made_ns = made_ns

    def _count(self, fresh: _Fresh, scored: Scored, *, is_unscored: bool) -> None:
        totals = self.totals
        self.totals = PartitionTotals(
            observations=totals.observations + len(scored.record),
            duplicate_batches=totals.duplicate_batches + len(fresh.duplicates),
            duplicate_observations=totals.duplicate_observations + scored.duplicates,
            quarantined=totals.quarantined + len(fresh.quarantined),
            unscored_messages=totals.unscored_messages + int(is_unscored),
        )

    def _note_lost(self, batches: Iterable[BatchesLost], channels: Iterable[ChannelsLost]) -> None:
        for lost in batches:
            for first, last in lost.ranges:
                self.ledger.record_lost(lost.gateway_id, lost.epoch, first, last)
            self._touch({lost.gateway_id})
        for gone in channels:
            self.pipeline.take_lost(gone)

    def _note_hours(self, scored: Scored, thinned: frozenset[BatchIdentity]) -> None:
        newest_ns = _newest_of_batches(scored.record, scored.event_ns)
        for identity, event_ns in zip(scored.record.batches, newest_ns, strict=True):
            if identity is None:
                continue
            if event_ns is None and identity in thinned:
                self._hours.record_emptied(identity)
            else:
                self._hours.record_stored(identity, self.made_ns if event_ns is None else event_ns)

    def _tell_hours(self) -> list[HourOfGateway]:
        return self._hours.changed(self.made_ns) if self._is_due("hours") else []

    def _tell_completeness(self) -> tuple[GatewayCompleteness, ...]:
        if self._is_due("completeness"):
            due = set(self._touched)
        elif self._is_due("gaps_told"):
            due = self._touched & (self._told_gaps | self._gappy)
        else:
            return ()
        self._touched -= due
        self._told_gaps = (self._told_gaps - due) | (self._gappy & due)
        return tuple(self._completeness_of(each) for each in sorted(due) if each in self._districts)

    def _completeness_of(self, gateway_id: str) -> GatewayCompleteness:
        return GatewayCompleteness(
            gateway_id=gateway_id,
            district_id=self._districts[gateway_id],
            epochs=list(self.ledger.rows_of(gateway_id)),
            hours=[
                HourCompleteness(
                    hour_ns=hour.hour_ns, stored_batches=hour.stored_batches, expected_batches=hour.expected_batches
                )
                for hour in self._hours.hours_of(gateway_id)
            ],
        )

    def _ask_for_gaps(self) -> tuple[UplinkCommand, ...]:
        if not self._is_due("gaps"):
            return ()
        before, self._gappy = self._gappy, {each for each in self._suspects if self.ledger.missing(each)}
        self._suspects = set(self._gappy)
        asked = sorted((before | self._gappy) & self._districts.keys())
        return tuple(command for gateway_id in asked for command in self._requests_of(gateway_id))

    def _requests_of(self, gateway_id: str) -> Iterable[UplinkCommand]:
        for epoch, ranges in self._requests.due(gateway_id, self.ledger, self.made_ns):
            yield UplinkCommand(
                kind=UplinkCommandKind.RESEND,
                district_id=self._districts[gateway_id],
                gateway_id=gateway_id,
                epoch=epoch,
                flat_ranges=tuple(RangeSet(ranges).flatten()),
            )

    def _touch(self, gateway_ids: set[str]) -> None:
        self._touched |= gateway_ids
        self._suspects |= gateway_ids

    def _is_due(self, what: str) -> bool:
        """Whether it is time to tell something; then it counts as told."""
        if not self._is_time(self.made_ns, what):
            return False
        self._told_ns[what] = self.made_ns
        return True

    def _is_time(self, now_ns: int, what: str) -> bool:
        """A clock that was set back counts as due: else nothing would be told until it has caught up."""
        return not 0 <= now_ns - self._told_ns[what] < _INTERVALS_NS[what]


def _check(message: ObservationMessage) -> None:
    """What decoding does not look at, and what no state must be built on. Raises RecordError."""
    batches = message.record.batches
    lost = [(each.epoch, *edges) for each in message.batches_lost for edges in each.ranges]
    numbers = [each for identity in batches if identity is not None for each in identity[1:]]
    numbers += [number for row in lost for number in row]
    if not set(map(type, numbers)) <= {int} or not 0 <= min(numbers, default=0) <= max(numbers, default=0) <= BATCH_MAX:
        raise RecordError("a number of an epoch or a batch is none")
    if any(first > last for _, first, last in lost):
        raise RecordError("a range of lost batches is none")
    if not all(at is None or 0 <= at < len(batches) for at, _ in message.quarantined):
        raise RecordError("bad input of a batch that is not there")


def _split_scored(together: Scored, records: Sequence[Record]) -> list[Scored]:
    """What was said of several records at once, as what is said of each; events and lanes go with the first."""
    batch_ends = np.cumsum([len(record.batches) for record in records])
    record_of_row = np.searchsorted(batch_ends, together.record.batch_index, side="right")
    row_ends = np.searchsorted(record_of_row, np.arange(len(records)), side="right")
    parts = []
    for at, record in enumerate(records):
        rows = slice(int(row_ends[at - 1]) if at else 0, int(row_ends[at]))
        first_batch = np.int32(batch_ends[at] - len(record.batches))
        part = select(together.record, rows)
        kept = replace(part, batch_index=part.batch_index - first_batch, batches=record.batches)
        parts.append(
            Scored(
                record=kept,
                duplicates=len(record) - len(kept),
                row=together.row[rows],
                event_ns=together.event_ns[rows],
                reason=together.reason[rows],
                score_ewma_z=together.score_ewma_z[rows],
                is_late=together.is_late[rows],
                events=[] if at else together.events,
                changed_lanes={} if at else together.changed_lanes,
                other_scores=drop_empty_scores(select_scores(together.other_scores, rows)),
            )
        )
    return parts


def _without_batches(record: Record, is_kept: Bools) -> Record:
    """The record without the batches that are not kept, and without their rows."""
    if is_kept.all():
        return record
    position = (np.cumsum(is_kept) - 1).astype(np.int32)
    rows = select(record, is_kept[record.batch_index])
    kept = tuple(batch for batch, is_one in zip(record.batches, is_kept, strict=True) if is_one)
    return replace(rows, batch_index=position[rows.batch_index], batches=kept)


def _split_batches(record: Record) -> Iterable[Record]:
    """Each batch as a record of its own."""
    for at, batch in enumerate(record.batches):
        rows = select(record, record.batch_index == at)
        yield replace(rows, batch_index=np.zeros(len(rows), dtype=np.int32), batches=(batch,))


def _newest_of_batches(record: Record, event_ns: Int64s) -> list[int | None]:
    """The time of the newest reading of each batch; None of one without readings."""
    newest = np.full(len(record.batches), _NO_TIME_NS)
    np.maximum.at(newest, record.batch_index, event_ns)
    return [None if time_ns == _NO_TIME_NS else time_ns for time_ns in newest.tolist()]


def _ledger_row(row: Sequence[Any]) -> LedgerRow:
    """A row of a snapshot's ledger; one from before thinned readings were counted ends without them."""
    return row[0], row[1], row[2], row[3], row[4], row[5] if len(row) > 5 else 0


def _parse_snapshot(snapshot: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    at = len(_MAGIC)
    if snapshot[:at] != _MAGIC or len(snapshot) < at + _LENGTHS.size:
        raise ValueError("not a snapshot of a partition of this version")
    text_length, hours_length = _LENGTHS.unpack_from(snapshot, at)
    at += _LENGTHS.size
    head = json.loads(snapshot[at : at + text_length])
    at += text_length
    return head, snapshot[at : at + hours_length], snapshot[at + hours_length :]
