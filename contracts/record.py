"""The record: observations of many channels as columns, as it crosses from bridge to job.

In the embedded engine it passes through a bounded in-process channel as it is; on Kafka it travels as Arrow IPC
with these columns. Needs numpy: the platform's side only, an agent never imports this module.

| column         | type    | meaning                                                                       |
|----------------|---------|-------------------------------------------------------------------------------|
| channel_id     | uint32  | registry-given                                                                |
| phenomenon_ns  | int64   | when it was measured                                                          |
| received_ns    | int64   | when the bridge received the payload                                          |
| value          | float64 | in the quantity's unit; NaN where there is no value (never on a further wire) |
| reason         | uint8   | contracts.quality.Reason                                                      |
| is_historical  | bool    | the agent sent it as history (Sparkplug is_historical)                        |
| batch_index    | int32   | position in `batches` of the batch that it came in                            |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.uplink import BatchIdentity

UInt32s = NDArray[np.uint32]
UInt8s = NDArray[np.uint8]
Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
_ScalarT = TypeVar("_ScalarT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Record:
    """Observations as columns of one length, and the batches that they came in."""

    channel_id: UInt32s
    phenomenon_ns: Int64s
    received_ns: Int64s
    value: Floats
    reason: UInt8s
    is_historical: Bools
    batch_index: Int32s
    batches: tuple[BatchIdentity | None, ...]
    """None: from an edge node that sends no batch identity."""

    def __len__(self) -> int:
        return len(self.channel_id)


def empty_record() -> Record:
    """A record without readings and without batches."""
    return Record(
        channel_id=np.zeros(0, dtype=np.uint32),
        phenomenon_ns=np.zeros(0, dtype=np.int64),
        received_ns=np.zeros(0, dtype=np.int64),
        value=np.zeros(0),
        reason=np.zeros(0, dtype=np.uint8),
        is_historical=np.zeros(0, dtype=np.bool_),
        batch_index=np.zeros(0, dtype=np.int32),
        batches=(),
    )


def select(record: Record, which: slice | Bools) -> Record:
    """Some readings of a record; its batches stay as they are."""
    return Record(
        channel_id=record.channel_id[which],
        phenomenon_ns=record.phenomenon_ns[which],
        received_ns=record.received_ns[which],
        value=record.value[which],
        reason=record.reason[which],
        is_historical=record.is_historical[which],
        batch_index=record.batch_index[which],
        batches=record.batches,
    )


def concatenate(records: Sequence[Record]) -> Record:
    """One record of all, in order; batch positions moved accordingly."""
    if len(records) == 1:
        return records[0]
    offsets = np.cumsum([0, *(len(record.batches) for record in records)])
    shifted = [record.batch_index + offset for record, offset in zip(records, offsets, strict=False)]
    return Record(
        channel_id=_joined([record.channel_id for record in records], np.uint32),
        phenomenon_ns=_joined([record.phenomenon_ns for record in records], np.int64),
        received_ns=_joined([record.received_ns for record in records], np.int64),
        value=_joined([record.value for record in records], np.float64),
        reason=_joined([record.reason for record in records], np.uint8),
        is_historical=_joined([record.is_historical for record in records], np.bool_),
        batch_index=_joined(shifted, np.int32),
        batches=tuple(batch for record in records for batch in record.batches),
    )


def _joined(columns: Sequence[NDArray[Any]], dtype: type[_ScalarT]) -> NDArray[_ScalarT]:
    return np.concatenate(columns).astype(dtype, copy=False) if columns else np.empty(0, dtype)
