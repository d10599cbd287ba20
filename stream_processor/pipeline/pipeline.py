"""The pipeline's step: one record in, its quality, scores and condition events out. Pure: no clock, no I/O.

The same code runs embedded (one process) and as a Faust job: a caller gives records in order and keeps what comes out.
How readings are grouped to records does not matter: step(a + b) says and learns, bit for bit, what step(a) and then
step(b) do. So does a pipeline that was restored from a snapshot in between.

    repeats → clock of the gateway → quality → rounds of (lateness, motion, hearing, scores) → groups → conditions

*Late* is a reading that its agent sends as history (`is_historical`), that is older than one of its channel that was
seen before, or much older than what its gateway sends meanwhile. It is stored and scored as history: it informs; it
neither pages nor changes a detector's state. A wrong clock does not make a live reading late: the watermark of a
channel never runs ahead of the time at which its readings were received.

One thing depends on more than the readings: forests of groups, if any channel asks for them (`group_scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import ConditionEvent
from contracts.condition import LaneState
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.record import Bools, Floats, Int64s, Record, UInt8s, UInt32s, concatenate, select
from contracts.score_columns import OtherScores, drop_empty_scores, join_scores
from stream_processor.detectors.contract import Batch, Rows, split_rounds
from stream_processor.fleet_index import FleetIndex
from stream_processor.packed_rows import gather
from stream_processor.pipeline.channel_scores import ChannelScores, ScoreColumns
from stream_processor.pipeline.channel_state import LATEST_NS, ChannelState, Share
from stream_processor.pipeline.channel_table import PLAUSIBLE_MAX, PLAUSIBLE_MIN, RESOLUTION, ChannelTable
from stream_processor.pipeline.conditions import (
    ConditionKey,
    Conditions,
    Readings,
    withdrawal,
    withdrawn_at,
)
from stream_processor.pipeline.gateway_clock import GatewayClocks
from stream_processor.pipeline.group_scores import GroupScores
from stream_processor.pipeline.pipeline_snapshot import (
    PipelineState,
    decode_scores,
    decode_state,
    encode_scores,
    encode_state,
)
from stream_processor.pipeline.quality_control import (
    control_motion,
    control_quality,
    find_clock_faults,
    is_bad,
)
from stream_processor.pipeline.repeats import find_repeats
from stream_processor.pipeline.silence import LOG_SILENCE_NS, LOOK_NS, excuse, find_silent, hear, mark_lost

NEVER_LOOKED_NS: Final = -1


@dataclass(frozen=True, slots=True)
class Scored:
    """What the pipeline says of a record."""

    record: Record
    """What was taken: without readings that came twice (same channel, time and value, from an edge node that sends no
    batch identity). All columns below have its length; its own `reason` is the edge node's."""
    duplicates: int
    """Readings that came twice and are not in `record`."""
    row: Rows
    event_ns: Int64s
    """Phenomenon time, or the time of receipt where the gateway's clock is wrong."""
    reason: UInt8s
    score_ewma_z: Floats
    """0 to 1 (`stream_processor.detectors.contract`); NaN where there is none: bad, or in warm-up."""
    is_late: Bools
    events: list[ConditionEvent]
    changed_lanes: dict[ConditionKey, LaneState]
    other_scores: OtherScores = field(default_factory=dict)
    """The same by the other detectors."""


@dataclass(slots=True)
class _Work:
    """Columns of a record in the making of a `Scored`."""

    record: Record
    rows: Rows
    limits: Floats
    event_ns: Int64s
    reasons: UInt8s
    is_bad: Bools
    """Of `reasons`. What motion adds to them later is doubt, and makes none bad."""
    is_late: Bools
    scores: ScoreColumns


class Pipeline:
    """State of one partition: channels, detectors, conditions."""

    def __init__(self, channel_ids: tuple[int, ...] = ()) -> None:
        self.channels = ChannelTable(channel_ids)
        self.scores = ChannelScores()
        self.groups = GroupScores()
        self.has_forgotten_scores = False
        """After `restore`: the detectors' state was of another version; channels warm up again."""
        self.conditions = Conditions()
        self._state = ChannelState()
        self._clocks = GatewayClocks()
        self._fleet: FleetIndex | None = None
        self._withdrawals: list[ConditionEvent] = []
        self._active_before: Mapping[str, ConditionEvent] = {}
        """After `restore`, until the fleet is known: how each active condition would return."""
        self._looked_ns = NEVER_LOOKED_NS
        self._scratch: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._grow()

    # --- fleet -------------------------------------------------------------------------------------------------------

    def take_fleet(self, fleet: FleetIndex, now_ns: int = 0) -> None:
        """A new fleet revision. Active conditions that it withdraws return with the next record, as of `now_ns`."""
        returns = self._returns()
        for definition in fleet.conditions:
            returns.pop(definition.condition_id, None)
        self._withdrawals += [withdrawn_at(event, now_ns) for event in returns.values()]
        self._active_before = {}
        self._fleet = fleet
        self.channels.take_contexts(fleet.contexts.values())
        self._grow()
        rows = self.channels.row_of_channel
        self.conditions.take_definitions(fleet.conditions, rows, len(self.channels))
        self.scores.take_definitions(fleet.conditions, fleet.contexts, rows)
        self.groups.take_definitions(fleet.conditions, fleet.contexts, rows)

    def _returns(self) -> dict[str, ConditionEvent]:
        """How each active condition would return if it were withdrawn at time 0."""
        if self._fleet is None:
            return dict(self._active_before)
        contexts = self._fleet.contexts
        return {
            definition.condition_id: withdrawal(definition, contexts[definition.channel_id], 0)
            for definition in self.conditions.active()
        }

    def _grow(self) -> None:
        count = len(self.channels)
        self.scores.grow(count)
        self.groups.grow(count)
        self.conditions.grow(count)
        self._state.grow(count)
        self._clocks.grow(len(self.channels.gateway_ids))
        if len(self._scratch) < count:
            self._scratch = np.zeros(count, dtype=np.intp)

    # --- records -----------------------------------------------------------------------------------------------------

    def step(self, record: Record, detected_ns: int) -> Scored:
        """Takes one record.

        Args:
            record: observations, in order of arrival.
            detected_ns: our clock, for the events.
        """
        rows = self.rows_of(record.channel_id)
        gateway = self.channels.gateway.take(rows)
        epochs = self._clocks.new_epochs(record, self.channels.index_of_gateway)
        clock_rows = np.concatenate([gateway, np.array([each for _, each, _ in epochs], dtype=np.intp)])
        before, clocks_before = self._state.share(rows), gather(self._clocks.state, clock_rows)
        try:
            repeats = find_repeats(self._state, rows, record)
            is_overtaken = self._clocks.find_overtaken(record, gateway, epochs)
            if repeats.any():
                kept = ~repeats
                return self._step(rows[kept], select(record, kept), is_overtaken[kept], detected_ns, len(record))
            return self._step(rows, record, is_overtaken, detected_ns, len(record))
        except Exception:
            # So that a caller may try parts of the record again: nothing was seen, no condition has moved.
            self._state.put(rows, before)
            self._clocks.state[clock_rows] = clocks_before
            self.conditions.roll_back()
            raise

    def rows_of(self, channel_ids: UInt32s) -> Rows:
        """The row of each channel; a channel that no fleet has named yet gets one."""
        rows = self.channels.rows_of(channel_ids)
        if len(self.channels) != len(self._scratch):
            self._grow()
        return rows

    def _step(self, rows: Rows, record: Record, is_overtaken: Bools, detected_ns: int, came: int) -> Scored:
        assert self._fleet is not None  # readings are resolved with the fleet that this pipeline was given first
        work = self._control(rows, record, is_overtaken)
        if not work.is_late.any() and self._are_distinct(rows):
            self._take_live(work, slice(None))
        else:
            for each in split_rounds(rows, work.is_late):
                self._score_history(work, each.history)
                self._take_live(work, each.live)
        if self.groups.has_groups:
            self._score_groups(work)
        events, changed = self.conditions.evaluate(_good_readings(work), self._fleet.contexts, detected_ns)
        lanes = {key: self.conditions.lanes.get(key, LaneState()) for key in changed}
        for withdrawn in self._withdrawals:
            events.append(withdrawn)
            lanes[ConditionKey(withdrawn.condition_id, is_historical=False)] = LaneState()
        self._withdrawals = []
        return Scored(
            record=record,
            duplicates=came - len(record),
            row=rows,
            event_ns=work.event_ns,
            reason=work.reasons,
            score_ewma_z=work.scores.standard,
            is_late=work.is_late,
            events=events,
            changed_lanes=lanes,
            other_scores=drop_empty_scores(work.scores.others),
        )

    def _control(self, rows: Rows, record: Record, is_overtaken: Bools) -> _Work:
        """Quality of each reading for itself, and what of the record is history from the beginning."""
        faults = find_clock_faults(record.phenomenon_ns, record.received_ns, record.is_historical)
        is_clock_wrong = faults.is_ahead | (faults.is_behind & ~is_overtaken)
        limits = gather(self.channels.limits, rows)
        reasons = control_quality(
            record.reason, record.value, limits[:, PLAUSIBLE_MIN], limits[:, PLAUSIBLE_MAX], is_clock_wrong
        )
        return _Work(
            record=record,
            rows=rows,
            limits=limits,
            event_ns=np.where(is_clock_wrong, record.received_ns, record.phenomenon_ns),
            reasons=reasons,
            is_bad=is_bad(reasons),
            is_late=record.is_historical | is_overtaken,
            scores=ScoreColumns.none(len(record)),
        )

    def _take_live(self, work: _Work, at: slice | Rows) -> None:
        """Readings that came as live, at most one a channel: lateness, motion, hearing, score; all of it is learnt."""
        rows, event_ns = work.rows[at], work.event_ns[at]
        share = self._state.share(rows)
        bad = work.is_bad[at]
        is_late = event_ns <= share.times[:, LATEST_NS]
        np.maximum(share.times[:, LATEST_NS], event_ns, out=share.times[:, LATEST_NS])
        hear(share, work.record.received_ns[at], bad)
        usable = ~(bad | is_late)
        if usable.all():
            self._learn(work, at, share)
            self._state.put(rows, share)
            return
        self._state.put(rows, share)
        positions = np.arange(len(work.rows))[at]
        work.is_late[positions[is_late]] = True
        self._score_history(work, positions[is_late])
        fresh = positions[usable]
        if len(fresh):
            fresh_share = Share(share.times[usable], share.numbers[usable])
            self._learn(work, fresh, fresh_share)
            self._state.put(work.rows[fresh], fresh_share)

    def _learn(self, work: _Work, at: slice | Rows, share: Share) -> None:
        """Motion and scores of readings that are neither bad nor late; `share` and the detectors learn them."""
        values = work.record.value[at]
        limits = work.limits[at] if isinstance(at, slice) else gather(work.limits, at)
        motion = control_motion(share, limits, values, work.event_ns[at])
        if motion.is_step.any() or motion.is_flat.any():
            reasons = work.reasons[at]
            reasons[motion.is_flat & (reasons == Reason.OK)] = Reason.FLAT_LINE
            reasons[motion.is_step & ((reasons == Reason.OK) | (reasons == Reason.FLAT_LINE))] = Reason.STEP_SUSPECT
            work.reasons[at] = reasons
        batch = Batch(work.rows[at], work.event_ns[at], values, limits[:, RESOLUTION])
        self.scores.score_and_learn(batch, at, work.scores)

    def _score_history(self, work: _Work, at: Rows) -> None:
        """Scores late readings against what is known now; nothing learns them."""
        at = at[~work.is_bad[at]]
        if len(at):
            batch = Batch(work.rows[at], work.event_ns[at], work.record.value[at], work.limits[at, RESOLUTION])
            self.scores.score(batch, at, work.scores)

    def _score_groups(self, work: _Work) -> None:
        """Scores of groups: of live good readings, in the order of arrival whatever the rounds were."""
        is_taken = self.groups.has_group(work.rows) & ~(work.is_bad | work.is_late)
        batch = Batch(work.rows, work.event_ns, work.record.value, work.limits[:, RESOLUTION])
        at = np.flatnonzero(is_taken)
        if len(at):
            self.groups.score_and_learn(batch if len(at) == len(is_taken) else batch.take(at), at, work.scores)

    def _are_distinct(self, rows: Rows) -> bool:
        """Whether no channel stands twice: six times cheaper than sorting."""
        order = np.arange(len(rows))
        self._scratch[rows] = order
        return bool((self._scratch[rows] == order).all())

    def learn(self, rows: Rows, event_ns: Int64s, values: Floats) -> None:
        """The detectors learn readings that are neither bad nor late: how stored history is replayed."""
        batch = Batch(rows, event_ns, values, self.channels.limits[rows, RESOLUTION])
        for each in split_rounds(rows, np.zeros(len(rows), dtype=np.bool_)):
            self.scores.learn(batch.take(each.live))
        if self.groups.has_groups:
            self.groups.learn(batch.take(np.flatnonzero(self.groups.has_group(rows))))

    # --- staleness ---------------------------------------------------------------------------------------------------

    def is_look_due(self, now_ns: int) -> bool:
        """Whether `find_stale` would look."""
        return self._looked_ns == NEVER_LOOKED_NS or now_ns >= self._looked_ns + LOOK_NS

    def find_stale(self, now_ns: int) -> list[ChannelsLost]:
        """Channels of which nothing was heard for longer than their limit, once until they are heard again.

        Args:
            now_ns: the time of the log (ObservationMessage.made_ns): all that was received before it has been taken.
                It looks once a second of it at most.
        """
        if not self.is_look_due(now_ns):
            return []
        if self._looked_ns != NEVER_LOOKED_NS and now_ns > self._looked_ns + LOG_SILENCE_NS:
            excuse(self._state, now_ns - self._looked_ns)
        self._looked_ns = now_ns
        rows = find_silent(self._state, self.channels.is_expected, now_ns)
        gateway = self.channels.gateway[rows]
        return [
            ChannelsLost(
                self.channels.gateway_ids[each],
                tuple(self.channels.channel_ids[rows[gateway == each]].tolist()),
                Reason.STALE,
                now_ns,
            )
            for each in np.unique(gateway).tolist()
        ]

    def take_lost(self, lost: ChannelsLost) -> None:
        """A bridge says that these channels are lost: they need not be called stale as well."""
        known = self.channels.row_of_channel
        rows = np.array([known[each] for each in lost.channel_ids if each in known], dtype=np.intp)
        mark_lost(self._state, rows, lost.time_ns)

    # --- snapshot ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All that the pipeline knows beside the fleet: one that restores it continues bit for bit."""
        return encode_state(
            PipelineState(
                channel_ids=self.channels.channel_ids,
                gateway=self.channels.gateway,
                gateway_ids=tuple(self.channels.gateway_ids),
                times=self._state.times,
                numbers=self._state.numbers,
                clocks=self._clocks.state,
                scores=self.snapshot_scores(),
                lanes=self.conditions.lanes,
                withdrawals=tuple(self._withdrawals),
                returns=self._returns(),
                looked_ns=self._looked_ns,
            )
        )

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`: of a new pipeline, before its first `take_fleet`.

        Conditions that were active and that the fleet then does not define any more return, as if this pipeline had
        run all the time. Raises ValueError if it is no snapshot of this version. A state of detectors of another
        version is left out (`has_forgotten_scores`): watermarks and conditions are worth more than 50 readings.
        """
        state = decode_state(snapshot)
        self.channels = ChannelTable(state.channel_ids.tolist())
        self.channels.take_gateways(state.gateway_ids)
        self.channels.gateway[:] = state.gateway
        self._state.restore(state.times, state.numbers)
        self._clocks.state = state.clocks
        try:
            self.restore_scores(state.scores)
        except ValueError:
            self.has_forgotten_scores = True
        self.conditions.lanes = dict(state.lanes)
        self._withdrawals = list(state.withdrawals)
        self._active_before = state.returns
        self._looked_ns = state.looked_ns
        self._grow()

    def snapshot_scores(self) -> bytes:
        """What the detectors know, of channels and of groups."""
        return encode_scores(self.scores.snapshot(), self.groups.snapshot())

    def restore_scores(self, snapshot: bytes) -> None:
        """Takes what the detectors know, before the first `take_fleet`. One of before groups were scored has none.

        Raises ValueError if a part is of another version: that one begins anew, the other is taken all the same.
        """
        of_channels, of_groups = decode_scores(snapshot)
        faults = []
        for restore, part in ((self.scores.restore, of_channels), (self.groups.restore, of_groups)):
            try:
                restore(part)
            except ValueError as error:
                faults.append(str(error))
        if faults:
            raise ValueError("; ".join(faults))

    def restore_watermarks(self, rows: Rows, phenomenon_ns: Int64s) -> None:
        """After a restart without a snapshot of all: the newest stored time of each channel."""
        np.maximum.at(self._state.times[:, LATEST_NS], rows, phenomenon_ns)


def _good_readings(work: _Work) -> Readings:
    """What conditions look at: all but bad readings."""
    rows, scores, values = work.rows, work.scores, work.record.value
    if not work.is_bad.any():
        return Readings(rows, work.event_ns, values, scores.standard, work.is_late, scores.others, scores.explanations)
    good = np.flatnonzero(~work.is_bad)
    others = {kind: column[good] for kind, column in scores.others.items()}
    explanations = {
        (int(np.searchsorted(good, at)), kind): text for (at, kind), text in scores.explanations.items()
    }  # of good readings only: bad ones are not scored
    return Readings(
        rows[good], work.event_ns[good], values[good], scores.standard[good], work.is_late[good], others, explanations
    )


def unscored(pipeline: Pipeline, record: Record) -> Scored:
    """A record as it came, without scores and conditions: for what the pipeline itself could not take."""
    rows = pipeline.rows_of(record.channel_id)
    empty = np.full(len(record), np.nan)
    return Scored(record, 0, rows, record.received_ns, record.reason, empty, record.is_historical, [], {})


def join_scored(parts: Sequence[Scored]) -> Scored:
    """What was said of the parts of a record, as what is said of the whole."""
    return Scored(
        record=concatenate([part.record for part in parts]),
        duplicates=sum(part.duplicates for part in parts),
        row=np.concatenate([part.row for part in parts]),
        event_ns=np.concatenate([part.event_ns for part in parts]),
        reason=np.concatenate([part.reason for part in parts]),
        score_ewma_z=np.concatenate([part.score_ewma_z for part in parts]),
        is_late=np.concatenate([part.is_late for part in parts]),
        events=[event for part in parts for event in part.events],
        changed_lanes={key: lane for part in parts for key, lane in part.changed_lanes.items()},
        other_scores=join_scores([(part.other_scores, len(part.row)) for part in parts]),
    )
