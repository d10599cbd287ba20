"""Columns of fixed width ↔ an Arrow IPC stream of one record batch, for little more than the price of copying them.

    schema message | record batch: metadata, body (a buffer a column) | end of stream

What stands before the body of such a stream depends on the schema and the number of rows alone. So it is made (or
read) by Arrow once for each number of rows and remembered, with the places that it gives to the columns: from then on a
stream that begins with the same bytes has its columns at the same places. Arrow's own reader and writer cost 40 to 60
microseconds a stream of ten columns, which is as much as scoring a hundred readings.

Nothing may be null. Only types of fixed width, and bool (a bit a row, least significant first).

Source: Arrow columnar format 1.5, "Encapsulated message format" and "RecordBatch message";
https://arrow.apache.org/docs/format/Columnar.html
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Column = NDArray[Any]

END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
LAYOUTS_KEPT: Final = 4_096
"""About 1 kB each. A schema has one for each number of rows that occurs."""
_BOOL: Final = np.dtype(np.bool_)
_CONTINUATION: Final = struct.Struct("<Ii")
"""Before the metadata of a message: the continuation marker, the length of the metadata."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the columns of all streams stand that begin with the same bytes."""

    beginning: bytes
    """Schema message and metadata of the record batch."""
    row_count: int
    places: tuple[int, ...]
    """Of each column, from the beginning of the stream."""
    end: int
    """Of the record batch."""


class ArrowColumns:
    """Streams of one schema."""

    def __init__(self, schema: pa.Schema, layouts_kept: int = LAYOUTS_KEPT) -> None:
        self.schema = schema
        self._layouts_kept = layouts_kept
        self._dtypes = tuple(np.dtype(each.to_pandas_dtype()) for each in schema.types)
        self._schema_message = schema.serialize().to_pybytes()
        self._layouts: dict[bytes, _Layout] = {}
        """By beginning, of streams that were read."""
        self._layout_of_count = functools.lru_cache(layouts_kept)(self._make_layout)

    def encode(self, columns: Sequence[Column]) -> bytearray:
        """The stream of columns, in the order of the schema.

        Raises:
            pyarrow.ArrowInvalid: a column has another type, and a value that the schema's has not.
            ValueError: the columns differ in length.
        """
        layout = self._layout_of_count(len(columns[0]))
        stream = bytearray(layout.end + len(END_OF_STREAM))
        stream[: len(layout.beginning)] = layout.beginning
        for name, column, dtype, place in zip(self.schema.names, columns, self._dtypes, layout.places, strict=True):
            if len(column) != layout.row_count:
                raise ValueError(f"column {name} has {len(column)} rows, not {layout.row_count}")
            typed = column if column.dtype == dtype else _cast(column, dtype)
            data = np.packbits(typed, bitorder="little") if dtype is _BOOL else typed
            np.frombuffer(stream, data.dtype, len(data), place)[:] = data
        stream[layout.end :] = END_OF_STREAM
        return stream

    def decode(self, stream: bytes, end: int) -> list[Column]:
        """The columns of the stream that `stream` begins with. They cannot be written to; most share its memory.

        Args:
            stream: what the stream stands in.
            end: where it ends at the latest.

        Raises:
            pyarrow.ArrowException, OSError, StopIteration: there is no such stream.
            ValueError: its columns are others, or something is null.
        """
        layout = self._layouts.get(self._beginning(stream))
        if layout is None:
            return self._decode_by_arrow(stream, end)
        if layout.end > end:
            raise ValueError(f"a record batch of {layout.end} bytes in {end}")
        return [_column(stream, *each, layout.row_count) for each in zip(self._dtypes, layout.places, strict=True)]

    def _beginning(self, stream: bytes) -> bytes:
        """Schema message and metadata; of a stream that is not as ours anything that no layout begins with."""
        at = len(self._schema_message) + _CONTINUATION.size
        if len(stream) < at:
            return b""
        _, length = _CONTINUATION.unpack_from(stream, len(self._schema_message))
        return stream[: at + max(0, length)]

    def _decode_by_arrow(self, stream: bytes, end: int) -> list[Column]:
        """By Arrow's own reader; remembers the layout if the stream begins as ours do."""
        buffer = pa.py_buffer(stream).slice(0, end)
        is_ours = stream.startswith(self._schema_message)
        if is_ours:
            message = pa.ipc.read_message(buffer.slice(len(self._schema_message)))
            batch = pa.ipc.read_record_batch(message, self.schema)
        else:
            batch = pa.ipc.open_stream(buffer).read_next_batch()
        batch.validate(full=True)
        if batch.schema != self.schema:
            raise ValueError(f"columns {batch.schema.names}, expected {self.schema.names}")
        for name, column in zip(self.schema.names, batch.columns, strict=True):
            if column.null_count:
                raise ValueError(f"{name}: {column.null_count} values are null")
        if is_ours:
            layout = _layout(buffer.address, self._beginning(stream), message, batch)
            if layout is not None:
                self._remember(layout)
        return [column.to_numpy(zero_copy_only=False) for column in batch.columns]

    def _remember(self, layout: _Layout) -> None:
        if len(self._layouts) >= self._layouts_kept:
            del self._layouts[next(iter(self._layouts))]
        self._layouts[layout.beginning] = layout

    def _make_layout(self, row_count: int) -> _Layout:
        zeros = [pa.array(np.zeros(row_count, dtype)) for dtype in self._dtypes]
        batch = pa.RecordBatch.from_arrays(zeros, schema=self.schema)
        stream = self._schema_message + batch.serialize().to_pybytes()
        buffer = pa.py_buffer(stream)
        message = pa.ipc.read_message(buffer.slice(len(self._schema_message)))
        read = pa.ipc.read_record_batch(message, self.schema)
        layout = _layout(buffer.address, self._beginning(stream), message, read)
        assert layout is not None
        return layout


def _layout(address: int, beginning: bytes, message: pa.Message, batch: pa.RecordBatch) -> _Layout | None:
    """The layout of a stream at `address`, of which `message` is the record batch's.

    None: its columns do not stand in it as they are (it is compressed, as Arrow allows and we never write).
    """
    if batch.num_rows == 0:  # then there is no body to point into
        return _Layout(beginning, 0, (0,) * batch.num_columns, len(beginning))
    end = len(beginning) + message.body.size
    values = [column.buffers()[1] for column in batch.columns]
    places = tuple(each.address - address for each in values)
    if not all(len(beginning) <= at <= end - each.size for at, each in zip(places, values, strict=True)):
        return None
    return _Layout(beginning, batch.num_rows, places, end)


def _cast(column: Column, dtype: np.dtype[Any]) -> Column:
    typed: Column = pa.array(column).cast(pa.from_numpy_dtype(dtype)).to_numpy(zero_copy_only=False)
    return typed


def _column(stream: bytes, dtype: np.dtype[Any], place: int, row_count: int) -> Column:
    if dtype is not _BOOL:
        return np.frombuffer(stream, dtype, row_count, place)
    bits = np.frombuffer(stream, np.uint8, (row_count + 7) // 8, place)
    return np.unpackbits(bits, count=row_count, bitorder="little").view(np.bool_)
