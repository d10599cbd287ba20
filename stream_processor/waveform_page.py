"""Blocks of waveforms as answers of the read API: JSON for a page, an Arrow stream for who computes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyarrow as pa

from contracts.quality import Reason, level_of
from contracts.query import WaveformBlock, WaveformPage
from contracts.waveform_message import COLUMNS, Waveform, waveform_columns


def build_waveform_page(
    channel_id: int, from_ns: int, to_ns: int, found: Sequence[Waveform], blocks_max: int
) -> WaveformPage:
    """The answer; `found` are the blocks of the time in order, one more than may be shown if there are too many."""
    if len(found) > blocks_max:
        to_ns = found[blocks_max].first_ns
    blocks = [_block(waveform) for waveform in found[:blocks_max]]
    return WaveformPage(channel_id=channel_id, from_ns=from_ns, to_ns=to_ns, blocks=blocks)


def encode_waveform_stream(found: Sequence[Waveform]) -> bytes:
    """Blocks as an Arrow IPC stream with the columns of contracts.waveform_message."""
    table = pa.table(waveform_columns(found), schema=pa.schema(COLUMNS))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    octets: bytes = sink.getvalue().to_pybytes()
    return octets


def _block(waveform: Waveform) -> WaveformBlock:
    reason = Reason(waveform.reason)
    return WaveformBlock(
        first_ns=waveform.first_ns,
        sample_rate_hz=waveform.sample_rate_hz,
        level=level_of(reason),
        reason=reason.wire_name,
        samples=[sample if math.isfinite(sample) else None for sample in waveform.samples.tolist()],
    )
