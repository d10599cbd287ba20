"""Columns of the store as Arrow tables, and ranges of batches: what goes into SQL and comes out of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.notice import BatchesLost, Quarantined
from contracts.record import Bools, Floats, Int64s, Record, UInt8s, UInt32s
from contracts.uplink import BatchIdentity
from contracts.waveform_message import Waveform, waveform_columns
from stream_processor.pipeline.pipeline import Scored

_Scalar = TypeVar("_Scalar", bound=np.generic)

BatchRange = tuple[str, int, int, int]
"""gateway_id, epoch, first batch, last batch."""


StoredWaveform = tuple[Waveform, BatchIdentity | None]
"""A block, and the batch that it came in."""


@dataclass(frozen=True, slots=True)
class Commit:
    """What one commit makes durable."""

    record: Record
    scored: Scored
    batches: Sequence[BatchIdentity]
    quarantined: Sequence[Quarantined] = ()
    lost: Sequence[BatchesLost] = ()
    thinned: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Readings that agents took out of these batches before they sent them, by (gateway_id, epoch)."""
    waveforms: Sequence[StoredWaveform] = ()


@dataclass(frozen=True, slots=True)
class StoredHistory:
    """Readings of one commit, to replay."""

    channel_id: UInt32s
    event_ns: Int64s
    value: Floats
    reason: UInt8s
    is_late: Bools


def coalesce(batches: Iterable[BatchIdentity]) -> list[BatchRange]:
    """Batch identities as ranges (gateway, epoch, first, last)."""
    return merge_ranges([(*identity, identity.batch) for identity in sorted(set(batches))])


def merge_ranges(rows: Iterable[BatchRange]) -> list[BatchRange]:
    """Merges adjacent and overlapping ranges; `rows` are in order."""
    merged: list[BatchRange] = []
    for gateway_id, epoch, first, last in rows:
        if merged and merged[-1][:2] == (gateway_id, epoch) and first <= merged[-1][3] + 1:
            merged[-1] = (gateway_id, epoch, merged[-1][2], max(last, merged[-1][3]))
        else:
            merged.append((gateway_id, epoch, first, last))
    return merged


def observation_table(seq: int, commit: Commit) -> pa.Table:
    """Rows of table `observation`: NaN becomes NULL, batch positions become identities.

    Of the other scores it has those that any row has.
    """
    record, scored = commit.record, commit.scored
    count = len(record)
    gateways = pa.array([None if batch is None else batch.gateway_id for batch in record.batches], pa.string())
    epochs = pa.array([None if batch is None else batch.epoch for batch in record.batches], pa.uint64())
    numbers = pa.array([None if batch is None else batch.batch for batch in record.batches], pa.uint64())
    index = pa.array(record.batch_index)
    return pa.table(
        {
            "commit_seq": np.full(count, seq, dtype=np.int64),
            "channel_id": record.channel_id,
            "phenomenon_ns": record.phenomenon_ns,
            "received_ns": record.received_ns,
            "value": _finite(record.value),
            "reason": scored.reason,
            "score_ewma_z": _finite(scored.score_ewma_z),
            **{kind.value: _finite(scores) for kind, scores in scored.other_scores.items()},
            "is_late": pa.array(scored.is_late),
            "gateway_id": gateways.take(index),
            "epoch": epochs.take(index),
            "batch": numbers.take(index),
            "event_ns": scored.event_ns,
        }
    )


def waveform_table(seq: int, waveforms: Sequence[StoredWaveform]) -> pa.Table:
    """Rows of table `waveform`."""
    identities = [identity for _, identity in waveforms]
    return pa.table(
        {
            "commit_seq": np.full(len(waveforms), seq, dtype=np.int64),
            **waveform_columns([waveform for waveform, _ in waveforms]),
            "gateway_id": pa.array([None if each is None else each.gateway_id for each in identities], pa.string()),
            "epoch": pa.array([None if each is None else each.epoch for each in identities], pa.uint64()),
            "batch": pa.array([None if each is None else each.batch for each in identities], pa.uint64()),
        }
    )


def _finite(column: Floats) -> pa.Array:
    return pa.array(column, mask=~np.isfinite(column))


def numpy_column(table: pa.Table, column: str, dtype: type[_Scalar]) -> NDArray[_Scalar]:
    """A column of an answer as a numpy array; NULL becomes NaN in a column of floats."""
    values = table.column(column).to_numpy(zero_copy_only=False) if table.num_rows else np.zeros(0)
    return np.asarray(values).astype(dtype)
