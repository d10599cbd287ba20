"""The gap ledger: per gateway and epoch which batches were received, stored, and lost for good.

It answers three questions: is this batch a duplicate; which batches are missing (a higher one of the same epoch was
seen, so they were sent); and what is the completeness of a gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from contracts.query import CompletenessRow
from contracts.ranges import RangeSet
from contracts.uplink import BatchIdentity

FIRST_BATCH: Final = 1
"""The first batch number of an epoch."""

LedgerRow = tuple[str, int, int, list[int], list[int], int]
"""gateway_id, epoch, highest batch, stored ranges and lost ranges as from, to, from, to, …, thinned readings."""


@dataclass(slots=True)
class EpochLedger:
    """What is known of one (gateway, epoch)."""

    stored: RangeSet = field(default_factory=RangeSet)
    lost: RangeSet = field(default_factory=RangeSet)
    highest: int = 0
    """Highest batch number that was ever seen."""
    thinned_readings: int = 0
    """Taken out of stored batches by the agent before it sent them."""

    def missing(self) -> list[tuple[int, int]]:
        """Ranges that were sent and are neither stored nor lost."""
        if self.highest < FIRST_BATCH or self.stored.covers(FIRST_BATCH, self.highest):
            return []
        return RangeSet([*self.stored, *self.lost]).missing(FIRST_BATCH, self.highest)


class GapLedger:
    """All gateways and epochs. The store keeps what `record_stored` and `record_lost` are told, and tells it again."""

    def __init__(self) -> None:
        self._epochs: dict[str, dict[int, EpochLedger]] = {}
        """gateway_id → epoch."""

    def is_stored(self, identity: BatchIdentity) -> bool:
        """Whether the batch is durably stored: a second arrival is a duplicate, to be acknowledged again."""
        ledger = self._epochs.get(identity.gateway_id, {}).get(identity.epoch)
        return ledger is not None and identity.batch in ledger.stored

    def record_seen(self, identity: BatchIdentity) -> None:
        """A batch has arrived."""
        ledger = self._ledger(identity.gateway_id, identity.epoch)
        ledger.highest = max(ledger.highest, identity.batch)

    def record_new(self, identity: BatchIdentity) -> bool:
        """A batch is stored if it was not before: `is_stored` and `record_stored` in one. False: it is a duplicate."""
        gateway_id, epoch, batch = identity
        ledger = self._ledger(gateway_id, epoch)
        if batch in ledger.stored:
            return False
        ledger.stored.add(batch)
        ledger.highest = max(ledger.highest, batch)
        return True

    def record_stored(self, gateway_id: str, epoch: int, first: int, last: int) -> None:
        """Batches are durably stored."""
        ledger = self._ledger(gateway_id, epoch)
        ledger.stored.add(first, last)
        ledger.highest = max(ledger.highest, last)

    def record_thinned(self, gateway_id: str, epoch: int, readings: int) -> None:
        """A new batch (no duplicate) came without so many of its readings."""
        self._ledger(gateway_id, epoch).thinned_readings += readings

    def record_lost(self, gateway_id: str, epoch: int, first: int, last: int) -> None:
        """The gateway says that it does not hold these batches any more."""
        ledger = self._ledger(gateway_id, epoch)
        for low, high in ledger.stored.missing(first, last):
            ledger.lost.add(low, high)
        ledger.highest = max(ledger.highest, last)

    def missing(self, gateway_id: str) -> Mapping[int, list[tuple[int, int]]]:
        """Missing ranges of a gateway by epoch; epochs without any are left out."""
        gaps = {epoch: ledger.missing() for epoch, ledger in self._epochs.get(gateway_id, {}).items()}
        return MappingProxyType({epoch: ranges for epoch, ranges in gaps.items() if ranges})

    def rows(self) -> Iterable[CompletenessRow]:
        """The whole ledger for people and pages."""
        for gateway_id in sorted(self._epochs):
            yield from self.rows_of(gateway_id)

    def rows_of(self, gateway_id: str) -> Iterable[CompletenessRow]:
        """What is known of one gateway, epoch by epoch."""
        for epoch, ledger in sorted(self._epochs.get(gateway_id, {}).items()):
            yield CompletenessRow(
                gateway_id=gateway_id,
                epoch=epoch,
                highest_batch=ledger.highest,
                stored_batches=ledger.stored.count,
                missing_ranges=ledger.missing(),
                lost_ranges=list(ledger.lost),
                thinned_readings=ledger.thinned_readings,
            )

    def export(self) -> list[LedgerRow]:
        """All that is known; `restore` takes it."""
        return [
            (
                gateway_id,
                epoch,
                ledger.highest,
                ledger.stored.flatten(),
                ledger.lost.flatten(),
                ledger.thinned_readings,
            )
            for gateway_id, epochs in self._epochs.items()
            for epoch, ledger in epochs.items()
        ]

    def restore(self, rows: Iterable[LedgerRow]) -> None:
        """Takes what `export` gave. Raises PayloadError if ranges are none."""
        for gateway_id, epoch, highest, stored, lost, thinned in rows:
            ledger = EpochLedger(RangeSet.from_flat(stored), RangeSet.from_flat(lost), highest, thinned)
            self._epochs.setdefault(gateway_id, {})[epoch] = ledger

    def _ledger(self, gateway_id: str, epoch: int) -> EpochLedger:
        epochs = self._epochs.setdefault(gateway_id, {})
        ledger = epochs.get(epoch)
        if ledger is None:
            ledger = epochs[epoch] = EpochLedger()
        return ledger
