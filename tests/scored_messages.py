"""Scored messages for tests of what reads `observations.scored`: a small fleet, and messages of chosen rows."""

from __future__ import annotations

import numpy as np

from contracts.fleet import FleetSnapshot
from contracts.notice import ChannelsLost
from contracts.quality import Reason
from contracts.record import Record
from contracts.record_message import HourOfGateway, ScoredMessage
from contracts.uplink import BatchIdentity

NAN = float("nan")
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
GATEWAY = "gw-1"
METHANE, OXYGEN, STRAIN = 11, 12, 21


def small_fleet() -> FleetSnapshot:
    """Two sites of two domains in two districts; channels 11 and 12 at a gas station, 21 at a bridge."""
    place = {"latitude": 1.0, "longitude": 2.0}
    node = {"gateway_id": GATEWAY, "bus_id": "tcp", "model": "M"}
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "harbour", "name": "Harbour"}, {"district_id": "hill", "name": "Hill"}],
            "sites": [
                {"site_id": "station", "district_id": "harbour", "domain": "gas", "name": "Station", **place},
                {"site_id": "span", "district_id": "hill", "domain": "bridge", "name": "Span", **place},
            ],
            "gateways": [{"gateway_id": GATEWAY, "district_id": "harbour", "name": "One"}],
            "nodes": [
                {"node_id": "gas-001", "site_id": "station", **node},
                {"node_id": "span-001", "site_id": "span", **node},
            ],
            "channels": [
                {"channel_id": METHANE, "node_id": "gas-001", "quantity": "methane_lel"},
                {"channel_id": OXYGEN, "node_id": "gas-001", "quantity": "oxygen"},
                {"channel_id": STRAIN, "node_id": "span-001", "quantity": "strain"},
            ],
        }
    )


def scored_message(
    source_offset: int,
    *rows: tuple[int, int, float, int, float],
    received_ns: int | None = None,
    made_ns: int | None = None,
    late: bool = False,
    batch: BatchIdentity | None = None,
    channels_lost: tuple[ChannelsLost, ...] = (),
    completeness: tuple[HourOfGateway, ...] = (),
) -> ScoredMessage:
    """Rows are (channel, phenomenon_ns, value, reason, score); received 50.000123 ms after the newest if not told.

    A reading whose time is more than a minute from that (not late: before it) has the time of receipt as event time.
    """
    channels, times, values, reasons, scores = zip(*rows, strict=True) if rows else ((),) * 5
    phenomenon = np.array(times, np.int64)
    if received_ns is None:
        received_ns = int(phenomenon.max()) + 50_000_123 if rows else 0
    received = np.full(len(rows), received_ns, np.int64)
    is_historical = np.full(len(rows), late)
    age_ns = received - phenomenon
    is_clock_wrong = (age_ns < -MINUTE_NS) | (~is_historical & (age_ns > MINUTE_NS))
    record = Record(
        channel_id=np.array(channels, np.uint32),
        phenomenon_ns=phenomenon,
        received_ns=received,
        value=np.array(values, np.float64),
        reason=np.array(reasons, np.uint8),
        is_historical=is_historical,
        batch_index=np.zeros(len(rows), np.int32),
        batches=(batch or BatchIdentity(GATEWAY, 7, source_offset),) if rows else (),
    )
    return ScoredMessage(
        source_offset=source_offset,
        made_ns=received_ns if made_ns is None else made_ns,
        record=record,
        event_ns=np.where(is_clock_wrong, received, phenomenon),
        score_ewma_z=np.array(scores, np.float64),
        is_late=is_historical,
        channels_lost=channels_lost,
        completeness=completeness,
    )


def good(channel: int, time_ns: int, value: float, score: float = NAN) -> tuple[int, int, float, int, float]:
    """A row of good quality."""
    return channel, time_ns, value, Reason.OK, score
