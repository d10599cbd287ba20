"""The pipeline's step: one record in, its quality, scores and condition events out. Pure: no clock, no I/O.

The same code runs embedded (one process) and as a Faust job: a caller gives records in order and keeps what comes out.

*Late* is a reading that its agent sends as history (`is_historical`) or that is older than one of its channel that was
seen before. It is stored, it informs; it neither pages nor changes a detector's state. A wrong clock does not make a
live reading late: the watermark of a channel never runs ahead of the time at which its readings were received.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from contracts.alarm import ConditionEvent
from contracts.record import Bools, Floats, Int64s, Record, UInt8s
from stream_processor.detectors.contract import Rows
from stream_processor.detectors.ewma_z import EwmaZ
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.channel_table import ChannelTable
from stream_processor.pipeline.conditions import ConditionKey, Conditions, LaneState, Readings, withdrawal
from stream_processor.pipeline.quality_control import control_quality, find_clock_faults, is_bad

NEVER_SEEN_NS = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Scored:
    """What the pipeline says of a record. Columns have the record's length."""

    row: Rows
    event_ns: Int64s
    """Phenomenon time, or the time of receipt where the gateway's clock is wrong."""
    reason: UInt8s
    score_ewma_z: Floats
    """NaN where there is none: bad, late, or in warm-up."""
    is_late: Bools
    events: list[ConditionEvent]
    changed_lanes: dict[ConditionKey, LaneState]


class Pipeline:
    """State of one partition: channels, detectors, conditions."""

    def __init__(self, channel_ids: tuple[int, ...] = ()) -> None:
        self.channels = ChannelTable(channel_ids)
        self.detector = EwmaZ()
        self.conditions = Conditions()
        self._watermark_ns: Int64s = np.zeros(0, dtype=np.int64)
        self._fleet: FleetIndex | None = None
        self._withdrawals: list[ConditionEvent] = []
        self._grow()

    def take_fleet(self, fleet: FleetIndex, now_ns: int = 0) -> None:
        """A new fleet revision. Active conditions that it withdraws return with the next record, as of `now_ns`."""
        if self._fleet is not None:
            for definition in self.conditions.withdrawn(fleet.conditions):
                context = self._fleet.contexts[definition.channel_id]
                self._withdrawals.append(withdrawal(definition, context, now_ns))
        self._fleet = fleet
        self.channels.take_contexts(fleet.contexts.values())
        self._grow()
        self.conditions.take_definitions(fleet.conditions, self.channels.row_of_channel, len(self.channels))

    def step(self, record: Record, detected_ns: int) -> Scored:
        """Takes one record.

        Args:
            record: observations, in order of arrival.
            detected_ns: our clock, for the events.
        """
        rows = self.channels.rows_of(record.channel_id)
        watermark_ns, lanes = self._watermark_ns[rows], dict(self.conditions.lanes)
        try:
            return self._step(rows, record, detected_ns)
        except Exception:
            # So that a caller may try parts of the record again: nothing was seen, no condition has moved.
            self._watermark_ns[rows] = watermark_ns
            self.conditions.restore_lanes(lanes)
            raise

    def _step(self, rows: Rows, record: Record, detected_ns: int) -> Scored:
        assert self._fleet is not None  # readings are resolved with the fleet that this pipeline was given first
        is_clock_wrong = find_clock_faults(record.phenomenon_ns, record.received_ns, record.is_historical)
        reasons = control_quality(
            record.reason,
            record.value,
            self.channels.plausible_min[rows],
            self.channels.plausible_max[rows],
            is_clock_wrong,
        )
        event_ns = np.where(is_clock_wrong, record.received_ns, record.phenomenon_ns)
        is_late = record.is_historical | (event_ns <= self._watermark_ns[rows])
        np.maximum.at(self._watermark_ns, rows[~is_late], event_ns[~is_late])
        is_good = ~is_bad(reasons)
        scores = self.learn(rows, record.value, is_good & ~is_late)
        readings = Readings(rows[is_good], event_ns[is_good], record.value[is_good], scores[is_good], is_late[is_good])
        events, changed = self.conditions.evaluate(readings, self._fleet.contexts, detected_ns)
        lanes = {key: self.conditions.lanes.get(key, LaneState()) for key in changed}
        for withdrawn in self._withdrawals:
            events.append(withdrawn)
            lanes[ConditionKey(withdrawn.condition_id, is_historical=False)] = LaneState()
        self._withdrawals = []
        return Scored(rows, event_ns, reasons, scores, is_late, events, lanes)

    def learn(self, rows: Rows, values: Floats, usable: Bools) -> Floats:
        """Scores and learns the usable readings of a batch; NaN for the others. Also how stored history is replayed."""
        scores = np.full(len(rows), np.nan)
        if usable.any():
            used = rows[usable]
            scores[usable] = self.detector.score_and_learn(used, values[usable], self.channels.resolution[used])
        return scores

    def _grow(self) -> None:
        count = len(self.channels)
        self.detector.grow(count)
        added = count - len(self._watermark_ns)
        self._watermark_ns = np.concatenate([self._watermark_ns, np.full(added, NEVER_SEEN_NS, dtype=np.int64)])

    def restore_watermarks(self, rows: Rows, phenomenon_ns: Int64s) -> None:
        """After a restart: the newest stored time of each channel."""
        np.maximum.at(self._watermark_ns, rows, phenomenon_ns)


def unscored(pipeline: Pipeline, record: Record) -> Scored:
    """A record as it came, without scores and conditions: for what the pipeline itself could not take."""
    count = len(record)
    rows = pipeline.channels.rows_of(record.channel_id)
    return Scored(rows, record.received_ns, record.reason, np.full(count, np.nan), record.is_historical, [], {})


def join_scored(parts: Sequence[Scored]) -> Scored:
    """What was said of the parts of a record, as what is said of the whole."""
    return Scored(
        row=np.concatenate([part.row for part in parts]),
        event_ns=np.concatenate([part.event_ns for part in parts]),
        reason=np.concatenate([part.reason for part in parts]),
        score_ewma_z=np.concatenate([part.score_ewma_z for part in parts]),
        is_late=np.concatenate([part.is_late for part in parts]),
        events=[event for part in parts for event in part.events],
        changed_lanes={key: lane for part in parts for key, lane in part.changed_lanes.items()},
    )
