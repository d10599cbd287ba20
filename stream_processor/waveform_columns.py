"""Blocks of waveforms as files of Parquet: a dataset of its own. Pure.

Files of `waveforms/date=YYYY-MM-DD/domain=NAME/`, sorted by channel and time, one row a block:

| column            | type          | meaning                                                                        |
|-------------------|---------------|--------------------------------------------------------------------------------|
| channel_id        | uint32        | registry-given                                                                 |
| district_id … unit| string        | what was measured, where, through whom; NULL where the registry had no channel |
| first_time        | timestamp us  | when the first sample was taken, UTC                                           |
| first_ns          | int64         | the same, to the nanosecond since 1970                                         |
| sample_rate_hz    | float64       | sample k (from 0) was taken k / sample_rate_hz seconds after the first         |
| sample_count      | int32         |                                                                                |
| quality, reason   | string        | of all samples: contracts.quality                                              |
| received_time     | timestamp ms  | when the platform received them                                                |
| epoch, batch      | uint64        | with gateway_id: the batch that they came in; each block stands here once      |
| samples           | list<float32> | in the unit; NaN where the logger gave no number                               |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np
import pyarrow as pa

from contracts.quality import REASONS, Reason
from contracts.quantity import QUANTITIES
from contracts.waveform_message import waveform_columns
from stream_processor.archive_columns import HISTORY_DAYS_MAX, ODD_DATE, REASON_NAMES, UNKNOWN_DOMAIN, FilePart
from stream_processor.fleet_index import ChannelContext
from stream_processor.store_columns import StoredWaveform

WAVEFORMS_FOLDER: Final = "waveforms"
_NS_PER_DAY: Final = 86_400_000_000_000
_CONTEXT: Final = ("district_id", "site_id", "gateway_id", "node_id", "quantity", "unit")
WAVEFORM_SCHEMA: Final = pa.schema(
    [
        ("channel_id", pa.uint32()),
        *((name, pa.string()) for name in _CONTEXT),
        ("first_time", pa.timestamp("us")),
        ("first_ns", pa.int64()),
        ("sample_rate_hz", pa.float64()),
        ("sample_count", pa.int32()),
        ("quality", pa.string()),
        ("reason", pa.string()),
        ("received_time", pa.timestamp("ms")),
        ("epoch", pa.uint64()),
        ("batch", pa.uint64()),
        ("samples", pa.list_(pa.float32())),
    ]
)


def build_waveform_parts(
    blocks: Sequence[StoredWaveform], contexts: Mapping[int, ChannelContext]
) -> Iterator[FilePart]:
    """The blocks as files by date and domain."""

    def place(block: StoredWaveform) -> tuple[str, str]:
        context = contexts.get(block[0].channel_id)
        return _date(block), UNKNOWN_DOMAIN if context is None else str(context.site.domain)

    ordered = sorted(blocks, key=lambda block: (*place(block), block[0].channel_id, block[0].first_ns))
    for (date, domain), of_place in groupby(ordered, key=place):
        yield FilePart(f"date={date}/domain={domain}", _table(list(of_place), contexts), WAVEFORMS_FOLDER)


def _date(block: StoredWaveform) -> str:
    """By which a block is put into a folder; one whose time cannot be has a folder for all of its kind."""
    first_day, received_day = block[0].first_ns // _NS_PER_DAY, block[0].received_ns // _NS_PER_DAY
    if not received_day - HISTORY_DAYS_MAX <= first_day <= received_day + 1:
        return ODD_DATE
    return str(np.datetime64(first_day, "D"))


def _table(blocks: Sequence[StoredWaveform], contexts: Mapping[int, ChannelContext]) -> pa.Table:
    waveforms = [waveform for waveform, _ in blocks]
    identities = [identity for _, identity in blocks]
    known = waveform_columns(waveforms)
    of_context = zip(*(_texts(contexts.get(each.channel_id)) for each in waveforms), strict=True)
    gateways = [None if each is None else each.gateway_id for each in identities]
    first_ns, received_ns = known["first_ns"].to_numpy(), known["received_ns"].to_numpy()
    columns = {
        **dict(zip(_CONTEXT, map(list, of_context), strict=True)),
        "channel_id": known["channel_id"],
        "first_time": pa.array(first_ns // 1_000, pa.int64()).cast(pa.timestamp("us")),
        "first_ns": known["first_ns"],
        "sample_rate_hz": known["sample_rate_hz"],
        "sample_count": [len(each.samples) for each in waveforms],
        "quality": [str(REASONS[Reason(each.reason)].level) for each in waveforms],
        "reason": [REASON_NAMES[each.reason] for each in waveforms],
        "received_time": pa.array(received_ns // 1_000_000, pa.int64()).cast(pa.timestamp("ms")),
        "epoch": [None if each is None else each.epoch for each in identities],
        "batch": [None if each is None else each.batch for each in identities],
        "samples": known["samples"],
    }
    columns["gateway_id"] = [
        said if said is not None else of_registry
        for said, of_registry in zip(gateways, columns["gateway_id"], strict=True)
    ]
    arrays = [
        pa.array(columns[name], kind) for name, kind in zip(WAVEFORM_SCHEMA.names, WAVEFORM_SCHEMA.types, strict=True)
    ]
    return pa.table(arrays, schema=WAVEFORM_SCHEMA)


def _texts(context: ChannelContext | None) -> tuple[str | None, ...]:
    if context is None:
        return (None,) * len(_CONTEXT)
    node, site, quantity = context.node, context.site, context.channel.quantity
    return site.district_id, site.site_id, node.gateway_id, node.node_id, quantity, QUANTITIES[quantity].unit
