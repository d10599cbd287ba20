"""The record of one received batch, from rows and from runs of plain values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from contracts.observation import NANOSECONDS_PER_MILLISECOND
from contracts.quality import Reason
from contracts.record import Int64s, Record, UInt32s
from contracts.uplink import BatchIdentity
from stream_processor.value_run import ValueRun

_ScalarT = TypeVar("_ScalarT", bound=np.generic)
Row = tuple[int, int, float, int, bool]
"""channel_id, phenomenon_ns, value, reason, is_historical."""


class PlainValues(NamedTuple):
    """Runs of a payload, and the channels of each."""

    runs: Sequence[ValueRun]
    channels: Sequence[UInt32s]

    def later_than(self, limit_ms: int) -> tuple[int, int]:
        """How many readings have a later time than this, and the latest time of all."""
        latest_ms = max(int(run.times_ms.max()) for run in self.runs)
        if latest_ms <= limit_ms:
            return 0, latest_ms
        return sum(int(np.count_nonzero(run.times_ms > limit_ms)) for run in self.runs), latest_ms


def build_record(
    rows: Sequence[Row],
    places: Sequence[int],
    plain: PlainValues | None,
    identity: BatchIdentity | None,
    received_ns: int,
) -> Record:
    """The record of one batch, in the order of its payload.

    Args:
        rows: what was decoded metric by metric.
        places: where each of them stood among the metrics that are in no run. Read only beside runs.
        plain: the rest.
        identity: the batch's.
        received_ns: our clock.
    """
    if plain is None:
        return _of_rows(rows, identity, received_ns)
    record = _of_plain(plain, identity, received_ns)
    if not rows:
        return record
    order = np.argsort(np.concatenate([_places_of_runs(plain.runs), np.asarray(places) + 0.5]), kind="stable")
    return _joined(record, _of_rows(rows, identity, received_ns), order)


def _of_rows(rows: Sequence[Row], identity: BatchIdentity | None, received_ns: int) -> Record:
    columns: tuple[tuple[object, ...], ...] = tuple(zip(*rows, strict=True)) if rows else ((), (), (), (), ())
    return Record(
        channel_id=np.array(columns[0], dtype=np.uint32),
        phenomenon_ns=np.array(columns[1], dtype=np.int64),
        received_ns=np.full(len(rows), received_ns, dtype=np.int64),
        value=np.array(columns[2], dtype=np.float64),
        reason=np.array(columns[3], dtype=np.uint8),
        is_historical=np.array(columns[4], dtype=np.bool_),
        batch_index=np.zeros(len(rows), dtype=np.int32),
        batches=(identity,),
    )


def _of_plain(plain: PlainValues, identity: BatchIdentity | None, received_ns: int) -> Record:
    runs = plain.runs
    values = _one([run.values for run in runs])
    count = len(values)
    is_historical = _one([np.full(len(run.values), run.shape.is_historical) for run in runs])
    reason = np.zeros(count, dtype=np.uint8)  # Reason.OK
    is_finite = np.isfinite(values)
    if np.count_nonzero(is_finite) != count:
        reason[~is_finite] = Reason.NOT_A_NUMBER
    return Record(
        channel_id=_one(plain.channels),
        phenomenon_ns=_one([run.times_ms for run in runs]) * NANOSECONDS_PER_MILLISECOND,
        received_ns=np.full(count, received_ns, dtype=np.int64),
        value=values,
        reason=reason,
        is_historical=is_historical,
        batch_index=np.zeros(count, dtype=np.int32),
        batches=(identity,),
    )


def _one(columns: Sequence[NDArray[_ScalarT]]) -> NDArray[_ScalarT]:
    return columns[0] if len(columns) == 1 else np.concatenate(columns)


def _places_of_runs(runs: Sequence[ValueRun]) -> Int64s:
    """For each reading how many metrics that are in no run came before it."""
    stretches = [stretch for run in runs for stretch in run.stretches]
    return np.repeat(
        np.array([each.others_before for each in stretches], dtype=np.int64), [each.readings for each in stretches]
    )


def _joined(first: Record, second: Record, order: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Record:
    """Both of one batch, in this order."""
    names = ("channel_id", "phenomenon_ns", "received_ns", "value", "reason", "is_historical", "batch_index")
    columns = {name: np.concatenate([getattr(first, name), getattr(second, name)])[order] for name in names}
    return Record(**columns, batches=first.batches)
