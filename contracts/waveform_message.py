"""Waveforms on the platform: a block with its channel, and the message of topic `waveforms` that carries some.

A message holds the blocks of one batch of a gateway: one Arrow IPC stream with one record batch, its schema's metadata
the batch's identity. Any tool that reads Arrow streams reads it.

| column         | type          | meaning                                                     |
|----------------|---------------|-------------------------------------------------------------|
| channel_id     | uint32        | registry-given                                              |
| first_ns       | int64         | when the first sample was taken                             |
| received_ns    | int64         | when the bridge received the payload                        |
| sample_rate_hz | float64       | sample k was taken k / sample_rate_hz after the first       |
| reason         | uint8         | contracts.quality.Reason, of all samples                    |
| samples        | list<float32> | in the quantity's unit; NaN where the logger gave no number |

Needs numpy and pyarrow: the platform's side only, an agent never imports this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.errors import RecordError
from contracts.uplink import BatchIdentity

Samples = NDArray[np.float32]

COLUMNS: Final = (
    ("channel_id", pa.uint32()),
    ("first_ns", pa.int64()),
    ("received_ns", pa.int64()),
    ("sample_rate_hz", pa.float64()),
    ("reason", pa.uint8()),
    ("samples", pa.list_(pa.float32())),
)
_SCHEMA: Final = pa.schema(COLUMNS)
_GATEWAY_ID: Final = b"gateway_id"
_EPOCH: Final = b"epoch"
_BATCH: Final = b"batch"


@dataclass(frozen=True, slots=True, eq=False)
class Waveform:
    """A block of samples of one channel that follow each other."""

    channel_id: int
    first_ns: int
    """When the first sample was taken."""
    received_ns: int
    sample_rate_hz: float
    reason: int
    """Code of contracts.quality.Reason, of all samples."""
    samples: Samples


@dataclass(frozen=True, slots=True)
class WaveformMessage:
    """The waveforms of one batch."""

    gateway_id: str
    identity: BatchIdentity | None
    """None: from an edge node that sends no batch identity."""
    waveforms: tuple[Waveform, ...]


def waveform_columns(waveforms: Sequence[Waveform]) -> dict[str, pa.Array]:
    """Blocks as the columns above."""
    lengths = [len(each.samples) for each in waveforms]
    offsets = pa.array(np.cumsum([0, *lengths], dtype=np.int32))
    flat = np.concatenate([each.samples for each in waveforms]) if waveforms else np.zeros(0, np.float32)
    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(each, name) for each in waveforms], kind) for name, kind in COLUMNS[:-1]
    }
    columns["samples"] = pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float32()))
    return columns


def waveforms_of(table: pa.Table | pa.RecordBatch) -> list[Waveform]:
    """The blocks of a table that has the columns above, among others."""
    ids, firsts, received, rates, reasons = (table.column(name).to_pylist() for name, _ in COLUMNS[:-1])
    lists = table.column("samples")
    samples = [np.asarray(each.values.to_numpy(zero_copy_only=False), np.float32) for each in lists]
    return list(map(Waveform, ids, firsts, received, rates, reasons, samples))


def encode_waveforms(message: WaveformMessage) -> bytes:
    """A message as bytes."""
    metadata = {_GATEWAY_ID: message.gateway_id}
    if message.identity is not None:
        metadata |= {_EPOCH: str(message.identity.epoch), _BATCH: str(message.identity.batch)}
    batch = pa.record_batch(waveform_columns(message.waveforms), schema=_SCHEMA.with_metadata(metadata))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    octets: bytes = sink.getvalue().to_pybytes()
    return octets


def decode_waveforms(octets: bytes) -> WaveformMessage:
    """Raises RecordError if these bytes are no such message."""
    try:
        with pa.ipc.open_stream(octets) as stream:
            table = stream.read_all().combine_chunks()
        return _message_of(table)
    except (pa.ArrowException, ValueError, KeyError, TypeError, OSError, StopIteration) as error:
        raise RecordError(f"not a message of waveforms: {error!r}") from error


def _message_of(table: pa.Table) -> WaveformMessage:
    metadata: dict[bytes, bytes] = table.schema.metadata or {}
    if table.schema.remove_metadata() != _SCHEMA:
        raise ValueError(f"columns {table.schema.names}")
    gateway_id = metadata[_GATEWAY_ID].decode()
    identity = None
    if _BATCH in metadata:
        identity = BatchIdentity(gateway_id, int(metadata[_EPOCH]), int(metadata[_BATCH]))
    return WaveformMessage(gateway_id, identity, tuple(waveforms_of(table)))
