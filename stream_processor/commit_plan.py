"""Which of the waiting effects belong into the next commit: each batch once, duplicates only acknowledged. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from contracts.notice import BatchesLost, ChannelsLost, Quarantined
from contracts.ranges import RangeSet
from contracts.record import Record
from contracts.uplink import BatchIdentity
from stream_processor.effects import BatchReceived, Effect
from stream_processor.gap_ledger import GapLedger
from stream_processor.store_columns import StoredWaveform


@dataclass(slots=True)
class CommitPlan:
    """What one commit holds, and what follows from it."""

    records: list[Record] = field(default_factory=list)
    batches: list[BatchIdentity] = field(default_factory=list)
    """New ones, to be stored with this commit."""
    duplicates: list[BatchIdentity] = field(default_factory=list)
    """Stored before, or twice in this commit: acknowledged again, not stored again."""
    quarantined: list[Quarantined] = field(default_factory=list)
    lost_batches: list[BatchesLost] = field(default_factory=list)
    lost_channels: list[ChannelsLost] = field(default_factory=list)
    thinned: dict[tuple[str, int], int] = field(default_factory=dict)
    """Readings that agents took out of the new batches before they sent them, by (gateway_id, epoch)."""

    waveforms: list[StoredWaveform] = field(default_factory=list)

    @property
    def needs_commit(self) -> bool:
        """Whether there is anything to make durable."""
        return bool(self.records or self.quarantined or self.lost_batches)

    def acknowledgements(self) -> dict[tuple[str, int], RangeSet]:
        """What may be acknowledged after the commit, by (gateway_id, epoch)."""
        ranges: dict[tuple[str, int], RangeSet] = {}
        for identity in sorted({*self.batches, *self.duplicates}):
            ranges.setdefault((identity.gateway_id, identity.epoch), RangeSet()).add(identity.batch)
        return ranges


def plan_commit(effects: Iterable[Effect], ledger: GapLedger) -> CommitPlan:
    """Sorts effects into a plan; the ledger learns which batches were seen."""
    plan = CommitPlan()
    fresh: set[BatchIdentity] = set()
    for effect in effects:
        match effect:
            case BatchReceived():
                _plan_batch(effect, plan, fresh, ledger)
            case Quarantined():
                plan.quarantined.append(effect)
            case BatchesLost():
                plan.lost_batches.append(effect)
            case ChannelsLost():
                plan.lost_channels.append(effect)
    return plan


def _plan_batch(batch: BatchReceived, plan: CommitPlan, fresh: set[BatchIdentity], ledger: GapLedger) -> None:
    identity = batch.identity
    if identity is not None:
        ledger.record_seen(identity)
        if identity in fresh or ledger.is_stored(identity):
            plan.duplicates.append(identity)
            return
        fresh.add(identity)
        plan.batches.append(identity)
        if batch.thinned_readings:
            key = identity.gateway_id, identity.epoch
            plan.thinned[key] = plan.thinned.get(key, 0) + batch.thinned_readings
    plan.records.append(batch.record)
    plan.waveforms.extend((waveform, identity) for waveform in batch.waveforms)
    plan.quarantined.extend(batch.refused)
