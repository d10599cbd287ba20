"""DDATA of a bus of many channels: octets laid out once, then patched in place. Pure; needs numpy.

A good reading by alias has one length if every alias has two octets, hence aliases from 128 to 16,383:

    12 len | 10 alias alias | 18 time×6 | (28 01 if historical) | 69 value×8

so that the readings of a batch are an array of records, and time and value are columns of it. Millisecond timestamps
have six octets from the year 1971 to 2109. A reading that is not good has another length: it is written by itself,
behind the others (the order of metrics means nothing).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators import sparkplug_wire as wire

FIRST_ALIAS: Final = 128
LAST_ALIAS: Final = 16_383
_TIME_SHIFTS: Final = np.arange(0, 42, 7, dtype=np.int64)
_TIME_MORE: Final = np.array([0x80, 0x80, 0x80, 0x80, 0x80, 0], dtype=np.uint8)
EPOCH_METRIC: Final = "Uplink/Epoch"
BATCH_METRIC: Final = "Uplink/Batch"


def _layout(history_octets: int) -> np.dtype[np.void]:
    """One good metric, octet by octet."""
    return np.dtype(
        [
            ("head", "u1", 5),
            ("time_tag", "u1"),
            ("time", "u1", 6),
            *([("history", "u1", history_octets)] if history_octets else []),
            ("value_tag", "u1"),
            ("value", "<f8"),
        ]
    )


class DataTemplate:
    """The DDATA of one bus, whose channels have aliases in a row from `first_alias` on.

    Raises ValueError if the aliases do not have two octets each.
    """

    def __init__(self, first_alias: int, count: int) -> None:
        if first_alias < FIRST_ALIAS or first_alias + count - 1 > LAST_ALIAS:
            raise ValueError(f"aliases {first_alias}..{first_alias + count - 1} are not within 128..16383")
        self._first_alias = first_alias
        self._live = _blank(first_alias, count, is_historical=False)
        self._historical = _blank(first_alias, count, is_historical=True)

    def encode(
        self,
        times_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        bad: Mapping[int, Mapping[str, wire.PropertyValue]],
        *,
        now_ms: int,
        seq: int,
        epoch: int,
        batch: int,
        is_historical: bool,
    ) -> bytes:
        """The payload of one batch.

        Args:
            times_ms: when each channel was measured.
            values: what each channel showed; NaN where there is nothing (then it must be in `bad`).
            bad: properties of readings that are not good, by position.
            now_ms: when the payload is made.
            seq: Sparkplug sequence number.
            epoch: of the batch.
            batch: number of the batch.
            is_historical: sent late or again.
        """
        rows = (self._historical if is_historical else self._live).copy()
        rows["time"] = (times_ms[:, None] >> _TIME_SHIFTS) & 0x7F | _TIME_MORE
        rows["value"] = values
        metrics = [self._good_rows(rows, bad)]
        for position, properties in bad.items():
            value = float(values[position])
            metrics.append(
                wire.encode_metric(
                    None if value != value else value,  # noqa: PLR0124  # NaN is the one that differs from itself
                    wire.DOUBLE,
                    timestamp_ms=int(times_ms[position]),
                    alias=self._first_alias + position,
                    has_datatype=False,
                    is_historical=is_historical,
                    properties=properties,
                )
            )
        metrics += [encode_number(EPOCH_METRIC, epoch, now_ms), encode_number(BATCH_METRIC, batch, now_ms)]
        return wire.encode_payload(metrics, now_ms, seq)

    @staticmethod
    def _good_rows(rows: NDArray[np.void], bad: Mapping[int, object]) -> bytes:
        if not bad:
            return rows.tobytes()
        is_good = np.ones(len(rows), dtype=np.bool_)
        is_good[list(bad)] = False
        return rows[is_good].tobytes()


def encode_number(name: str, number: int | None, now_ms: int) -> bytes:
    """A UInt64 metric by name, as the uplink's bookkeeping sends it."""
    return wire.encode_metric(number, wire.UINT64, timestamp_ms=now_ms, name=name)


def encode_numbers(name: str, numbers: Sequence[int] | None, now_ms: int) -> bytes:
    """A UInt64Array metric by name."""
    return wire.encode_metric(numbers, wire.UINT64_ARRAY, timestamp_ms=now_ms, name=name)


def _blank(first_alias: int, count: int, *, is_historical: bool) -> NDArray[np.void]:
    rows = np.zeros(count, dtype=_layout(2 if is_historical else 0))
    aliases = first_alias + np.arange(count)
    length = rows.dtype.itemsize - 2
    rows["head"][:, 0], rows["head"][:, 1], rows["head"][:, 2] = 0x12, length, 0x10
    rows["head"][:, 3], rows["head"][:, 4] = aliases & 0x7F | 0x80, aliases >> 7
    rows["time_tag"], rows["value_tag"] = 0x18, 0x69
    if is_historical:
        rows["history"] = (0x28, 0x01)
    return rows
