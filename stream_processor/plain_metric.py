"""Plain metrics: readings of one shape, one behind the other, as columns. Pure.

    0x12 len · alias 0x10 1…5 octets · timestamp 0x18 6 octets · [datatype 0x20 1] · [is_historical 0x28 1] · value

with value a Double (0x69, 8 octets) or a Float (0x65, 4), fields in ascending order as protobuf writes them. A regular
expression finds where such metrics end; numpy then reads them as arrays of rows. Rows are equally long whose aliases
have the same number of octets: mostly all of them, or all up to the alias 127 and all beyond. Others are sorted by
length first. Times are six octets of varint: 1971 to 2109.

Source: Sparkplug 3.0, section 6.4; https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats, Int64s
from contracts.sparkplug.datatype import DataType

_TIME_OCTETS: Final = 6
_ALIAS_OCTETS_MAX: Final = 5
_EVEN_PARTS_MAX: Final = 4
"""More cost more than to sort."""
_BEFORE_ALIAS: Final = 3
"""Tag and length of the metric, tag of the alias."""
_TIMESTAMP: Final = 0x18
_SHIFTS: Final = np.array([1 << (7 * place) for place in range(_TIME_OCTETS)], dtype=np.int64)


class Shape(NamedTuple):
    """What metrics have in common."""

    datatype: DataType
    """Of the value's field; the birth must have named the same."""
    is_typed: bool
    """Each metric repeats its data type."""
    is_historical: bool

    @property
    def gap_octets(self) -> int:
        """Between the timestamp and the value."""
        return 2 * self.is_typed + 2 * self.is_historical + 1

    @property
    def value_octets(self) -> int:
        """Of the value, without its tag."""
        return 8 if self.datatype is DataType.DOUBLE else 4


class Columns(NamedTuple):
    """Metrics by column, in their order."""

    aliases: Int64s
    times_ms: Int64s
    values: Floats
    starts: Sequence[int]
    """Where each begins."""


class Pattern(NamedTuple):
    """What the metrics of a shape look like."""

    shape: Shape
    metrics: re.Pattern[bytes]
    """One or more of them, without going back. It does not look at their lengths."""


def _pattern(shape: Shape) -> Pattern:
    gap = b"\\x20" + b"\\x%02x" % shape.datatype if shape.is_typed else b""
    gap += b"\\x28\\x01" if shape.is_historical else b""
    gap += b"\\x69" if shape.datatype is DataType.DOUBLE else b"\\x65"
    alias = rb"\x10[\x80-\xff]{0,4}[\x00-\x7f]"
    time = rb"\x18[\x80-\xff]{5}[\x00-\x7f]"
    metric = rb"\x12[\x00-\x7f]" + alias + time + gap + b".{%d}" % shape.value_octets
    return Pattern(shape, re.compile(b"(?:" + metric + b")++", re.DOTALL))


PATTERNS: Final = tuple(
    _pattern(Shape(datatype, is_typed, is_historical))
    for datatype in (DataType.DOUBLE, DataType.FLOAT)
    for is_typed in (False, True)
    for is_historical in (False, True)
)


def read_columns(shape: Shape, octets: bytes) -> Columns | None:
    """The columns of metrics that `Pattern.metrics` has found; None if the length of one is wrong."""
    return _read_even(shape, octets) or _read_by_stride(shape, octets)


def _read_even(shape: Shape, octets: bytes) -> Columns | None:
    """A few stretches of metrics of equal length, as a device sends whose aliases stand in a row."""
    parts: list[Columns] = []
    starts: list[int] = []
    position = 0
    while position + 1 < len(octets):
        if len(parts) == _EVEN_PARTS_MAX:
            return None
        stride = _stride(octets, position)
        lengths = octets[position + 1 :: stride]
        end = position + stride * (len(lengths) - len(lengths.lstrip(lengths[:1])))
        part = _read_rows(shape, octets[position:end], stride) if end <= len(octets) else None
        if part is None:
            return None
        parts.append(part)
        starts += range(position, end, stride)
        position = end
    if len(parts) == 1:
        return parts[0]
    return Columns(
        np.concatenate([part.aliases for part in parts]),
        np.concatenate([part.times_ms for part in parts]),
        np.concatenate([part.values for part in parts]),
        starts,
    )


def _read_rows(shape: Shape, octets: bytes, stride: int) -> Columns | None:
    """Metrics that all say that they are of this length; None if one is not.

    Each begins where the one before says that it ends. The first begins where the pattern says; so all do, if in each
    the alias ends, and the timestamp's tag stands, where its length wants it.
    """
    alias_octets = stride - _BEFORE_ALIAS - 1 - _TIME_OCTETS - shape.gap_octets - shape.value_octets
    tag = _BEFORE_ALIAS + alias_octets
    if not 1 <= alias_octets <= _ALIAS_OCTETS_MAX or not octets[tag - 1 :: stride].isascii():
        return None
    if octets[tag::stride].count(_TIMESTAMP) * stride != len(octets):
        return None
    rows = np.frombuffer(octets, dtype=_row_type(shape, alias_octets))
    return Columns(
        _numbers(rows["alias"]),
        _numbers(rows["time"]),
        rows["value"].astype(np.float64),
        range(0, len(octets), stride),
    )


def _read_by_stride(shape: Shape, octets: bytes) -> Columns | None:
    """Metrics of several lengths, mixed."""
    rows: dict[int, list[bytes]] = {}
    places: dict[int, list[int]] = {}
    starts: list[int] = []
    position = 0
    while position + 1 < len(octets):
        stride = _stride(octets, position)
        rows.setdefault(stride, []).append(octets[position : position + stride])
        places.setdefault(stride, []).append(len(starts))
        starts.append(position)
        position += stride
    if position != len(octets):
        return None
    count = len(starts)
    columns = Columns(np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.float64), starts)
    for stride, place in places.items():
        part = _read_rows(shape, b"".join(rows[stride]), stride)
        if part is None:
            return None
        for column, of_part in zip(columns[:3], part[:3], strict=True):
            column[place] = of_part
    return columns


def _stride(octets: bytes, position: int) -> int:
    """How long the metric says that it is, with its tag and length."""
    return octets[position + 1] + 2


@lru_cache
def _row_type(shape: Shape, alias_octets: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("before", np.uint8, _BEFORE_ALIAS),
            ("alias", np.uint8, (alias_octets,)),
            ("tag", np.uint8),
            ("time", np.uint8, _TIME_OCTETS),
            ("gap", np.uint8, shape.gap_octets),
            ("value", f"<f{shape.value_octets}"),
        ]
    )


def _numbers(varints: NDArray[np.uint8]) -> Int64s:
    """One number a row."""
    return (varints & 0x7F) @ _SHIFTS[: varints.shape[1]]
