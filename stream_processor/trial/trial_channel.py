"""Columns of a table as channels that the pipeline can work on, though no registry has them. Pure.

What a registry would say of a channel (unit, plausible range, digits that the instrument shows) comes from the quantity
that the caller names, else from the readings: no range, and the digits of the first thousand. That is a property of
the instrument which is known before it is wired; nothing else of the file is looked at before its time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from contracts.alarm import ConditionDefinition
from contracts.fleet import Channel, Domain, FleetSnapshot, Node, Site
from contracts.quality import Reason
from contracts.quantity import QUANTITIES, Quantity
from contracts.record import Bools, Floats, Int64s, Record
from contracts.uplink import BatchIdentity
from stream_processor.detectors.contract import VALUE_MAX
from stream_processor.errors import TrialError
from stream_processor.fleet_index import ChannelContext, FleetIndex

HEAD_READINGS: Final = 1_000
"""So many readings of a column tell the digits that its instrument shows."""
_DECIMALS_MAX: Final = 12
TABLE_BUS: Final = "table"
"""The bus of a column: its node's model is the column's name."""
_GATEWAY: Final = "trial"
_SITE: Final = Site(
    site_id="trial", district_id="trial", domain=Domain.BUILDING, name="Trial", latitude=0.0, longitude=0.0
)


@dataclass(frozen=True, slots=True)
class TrialChannel:
    """A column of a table."""

    name: str
    """As the column is called."""
    quantity: Quantity


def choose_channels(
    names: Sequence[str], head: Floats, quantities: Mapping[str, str], decimals: Mapping[str, int]
) -> tuple[TrialChannel, ...]:
    """The columns as channels.

    Args:
        names: of the columns.
        head: the first rows of the file, by row and column.
        quantities: name of the quantity (`contracts.quantity`) by column, of those that the caller names.
        decimals: digits after the point by column, of those that the caller names.
    """
    unknown = sorted({*quantities, *decimals} - set(names))
    if unknown:
        raise TrialError(f"{', '.join(map(repr, unknown))} is none of the columns {', '.join(names)}")
    return tuple(
        TrialChannel(name, _quantity(name, quantities.get(name), decimals.get(name), head[:, at]))
        for at, name in enumerate(names)
    )


def _quantity(column: str, name: str | None, decimals: int | None, readings: Floats) -> Quantity:
    if name is None:
        shown = count_decimals(readings[np.isfinite(readings)][:HEAD_READINGS]) if decimals is None else decimals
        return Quantity("value", column, "1", "", -VALUE_MAX, VALUE_MAX, shown)
    if name not in QUANTITIES:
        raise TrialError(f"column {column!r}: quantity {name!r} is not one of {', '.join(QUANTITIES)}")
    known = QUANTITIES[name]
    if decimals is None:
        return known
    return Quantity(
        known.name, known.title, known.unit, known.unit_symbol, known.plausible_min, known.plausible_max, decimals,
        known.max_rate, known.flat_line_s,
    )  # fmt: skip


def count_decimals(values: Floats) -> int:
    """Digits after the point with which these values can be written, at most twelve."""
    for decimals in range(_DECIMALS_MAX):
        scaled = values * 10.0**decimals
        if (np.abs(scaled - np.rint(scaled)) <= 4.0 * np.finfo(np.float64).eps * np.abs(scaled)).all():
            return decimals
    return _DECIMALS_MAX


def index_of(channels: Sequence[TrialChannel], conditions: Iterable[ConditionDefinition] = ()) -> FleetIndex:
    """The fleet that has these channels: channel ids from 1, in order."""
    return index_of_contexts(
        [
            ChannelContext(
                Channel.model_construct(
                    channel_id=at, node_id=f"column-{at}", quantity=channel.quantity.name, scores=()
                ),
                Node(
                    node_id=f"column-{at}", gateway_id=_GATEWAY, bus_id=TABLE_BUS, site_id="trial", model=channel.name
                ),
                _SITE,
                channel.quantity,
            )
            for at, channel in enumerate(channels, 1)
        ],
        conditions,
    )


def index_of_contexts(contexts: Iterable[ChannelContext], conditions: Iterable[ConditionDefinition] = ()) -> FleetIndex:
    """A fleet of which nothing is known but these channels."""
    index = FleetIndex(FleetSnapshot(revision=1))
    index.contexts = {context.channel.channel_id: context for context in contexts}
    index.conditions = tuple(conditions)
    return index


def record_of(times_ns: Int64s, values: Floats, number: int) -> tuple[Record, Bools]:
    """Rows of a table as they would have come in: row after row, each received when it was measured.

    Args:
        times_ns: of the rows.
        values: by row and column; NaN: nothing came.
        number: of this batch, from 1: readings of a batch with a number are never taken for the last one told twice.

    Returns:
        The record, and which cells of `values` are in it.
    """
    is_there = ~np.isnan(values)
    row, column = np.nonzero(is_there)
    at_ns = times_ns[row]
    return Record(
        channel_id=(column + 1).astype(np.uint32),
        phenomenon_ns=at_ns,
        received_ns=at_ns,
        value=values[is_there],
        reason=np.full(len(row), Reason.OK, dtype=np.uint8),
        is_historical=np.zeros(len(row), dtype=np.bool_),
        batch_index=np.zeros(len(row), dtype=np.int32),
        batches=(BatchIdentity(_GATEWAY, 1, number),),
    ), is_there
