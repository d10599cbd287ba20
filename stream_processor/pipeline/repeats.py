"""Readings that came twice from an edge node that numbers no batches: same channel, same time, same value and reason.

Our agents number their batches, and the gap ledger knows which came before. A third-party edge node tells its last
values again with each birth, and what it sent when it is unsure: only channel and time can tell that. A reading is
compared with the one of its channel that came before it.
"""

from __future__ import annotations

import numpy as np

from contracts.record import Bools, Record
from stream_processor.detectors.contract import Rows
from stream_processor.pipeline.channel_state import TAKEN, TAKEN_NS, TAKEN_REASON, ChannelState


def find_repeats(state: ChannelState, rows: Rows, record: Record) -> Bools:
    """Which readings of a record repeat the one before; the state then knows the last of each channel.

    Only batches without identity are looked at: the others' readings never repeat.
    """
    repeats = np.zeros(len(record), dtype=np.bool_)
    if None not in record.batches:
        return repeats
    is_anonymous = np.array([batch is None for batch in record.batches], dtype=np.bool_)
    positions = np.flatnonzero(is_anonymous[record.batch_index])
    if len(positions) == 0:
        return repeats
    order = positions[np.argsort(rows[positions], kind="stable")]
    own = rows[order]
    # Values by their bits, so that one NaN equals the other.
    time_ns, value, reason = record.phenomenon_ns[order], record.value[order].view(np.int64), record.reason[order]
    is_first = np.concatenate([[True], own[1:] != own[:-1]])
    taken = state.numbers[own]
    before_ns = np.where(is_first, state.times[own, TAKEN_NS], np.roll(time_ns, 1))
    before = np.where(is_first, np.ascontiguousarray(taken[:, TAKEN]).view(np.int64), np.roll(value, 1))
    before_reason = np.where(is_first, taken[:, TAKEN_REASON].astype(np.uint8), np.roll(reason, 1))
    repeats[order] = (time_ns == before_ns) & (value == before) & (reason == before_reason)
    last = order[np.append(is_first[1:], True)]
    state.times[rows[last], TAKEN_NS] = record.phenomenon_ns[last]
    state.numbers[rows[last], TAKEN] = record.value[last]
    state.numbers[rows[last], TAKEN_REASON] = record.reason[last]
    return repeats
