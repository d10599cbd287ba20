"""A small fleet, and an edge node that speaks Sparkplug into the host session."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from contracts import uplink
from contracts.alarm import ConditionDefinition
from contracts.fleet import FleetSnapshot
from contracts.record import Record
from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, Property, encode_payload
from contracts.uplink import BatchIdentity

TIME_MS = 1_761_955_200_000
TIME_NS = TIME_MS * 1_000_000


@pytest.fixture
def fleet() -> FleetSnapshot:
    """Two gateways; gas-001 has methane above 25 %LEL as condition `gas-001-high`."""
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "harbour", "name": "Harbour"}],
            "sites": [
                {
                    "site_id": "station",
                    "district_id": "harbour",
                    "domain": "gas",
                    "name": "Gas station",
                    "latitude": 1.0,
                    "longitude": 2.0,
                }
            ],
            "gateways": [
                {"gateway_id": "gw-1", "district_id": "harbour", "name": "One"},
                {"gateway_id": "gw-2", "district_id": "harbour", "name": "Two"},
            ],
            "nodes": [
                {"node_id": "gas-001", "gateway_id": "gw-1", "bus_id": "tcp", "site_id": "station", "model": "XRL"},
                {"node_id": "gas-002", "gateway_id": "gw-1", "bus_id": "rtu", "site_id": "station", "model": "XRL"},
                {"node_id": "gas-003", "gateway_id": "gw-2", "bus_id": "tcp", "site_id": "station", "model": "XRL"},
                {
                    "node_id": "old-001",
                    "gateway_id": "gw-1",
                    "bus_id": "tcp",
                    "site_id": "station",
                    "model": "XRL",
                    "state": "retired",
                },
            ],
            "channels": [
                {"channel_id": 11, "node_id": "gas-001", "quantity": "methane_lel"},
                {"channel_id": 12, "node_id": "gas-002", "quantity": "methane_lel"},
                {"channel_id": 13, "node_id": "gas-003", "quantity": "methane_lel"},
                {"channel_id": 14, "node_id": "old-001", "quantity": "methane_lel"},
            ],
            "conditions": [
                {
                    "condition_id": "gas-001-high",
                    "channel_id": 11,
                    "set_point": 25.0,
                    "deadband": 2.0,
                    "priority": 1,
                    "colour": "red",
                    "title": "Methane above 25 %LEL",
                }
            ],
        }
    )


class EdgeNodeVoice:
    """Topics and payloads of edge node gw-1, with a seq that counts."""

    def __init__(self, epoch: int | None = 7) -> None:
        self.epoch = epoch
        self.seq = -1

    def _next_seq(self) -> int:
        self.seq = (self.seq + 1) % 256
        return self.seq

    def nbirth(self, bd_seq: int = 3) -> tuple[str, bytes]:
        self.seq = -1
        metrics = [
            Metric(name="bdSeq", datatype=DataType.UINT64, value=bd_seq),
            Metric(name="Node Control/Rebirth", datatype=DataType.BOOLEAN, value=False),
        ]
        if self.epoch is not None:
            metrics.append(Metric(name=uplink.EPOCH, datatype=DataType.UINT64, value=self.epoch))
        return "spBv1.0/harbour/NBIRTH/gw-1", encode_payload(Payload(TIME_MS, metrics, self._next_seq()))

    def dbirth(self, names: tuple[str, ...] = ("gas-001/methane_lel",), bus: str = "tcp") -> tuple[str, bytes]:
        metrics = [
            Metric(name=name, alias=alias, timestamp_ms=TIME_MS, datatype=DataType.DOUBLE, value=1.5)
            for alias, name in enumerate(names, start=100)
        ]
        return f"spBv1.0/harbour/DBIRTH/gw-1/{bus}", encode_payload(Payload(TIME_MS, metrics, self._next_seq()))

    def ddata(
        self, batch: int | None, *metrics: Metric, epoch: int | None = None, bus: str = "tcp"
    ) -> tuple[str, bytes]:
        all_metrics = list(metrics)
        if batch is not None:
            all_metrics.append(Metric(name=uplink.BATCH, datatype=DataType.UINT64, value=batch))
            all_metrics.append(Metric(name=uplink.EPOCH, datatype=DataType.UINT64, value=epoch or self.epoch))
        return f"spBv1.0/harbour/DDATA/gw-1/{bus}", encode_payload(Payload(TIME_MS, all_metrics, self._next_seq()))

    def ddeath(self, bus: str = "tcp") -> tuple[str, bytes]:
        return f"spBv1.0/harbour/DDEATH/gw-1/{bus}", encode_payload(Payload(TIME_MS, [], self._next_seq()))

    @staticmethod
    def ndeath(bd_seq: int = 3) -> tuple[str, bytes]:
        metric = Metric(name="bdSeq", datatype=DataType.UINT64, value=bd_seq)
        return "spBv1.0/harbour/NDEATH/gw-1", encode_payload(Payload(TIME_MS, [metric]))


@pytest.fixture
def voice() -> EdgeNodeVoice:
    return EdgeNodeVoice()


@pytest.fixture
def third_party_voice() -> EdgeNodeVoice:
    return EdgeNodeVoice(epoch=None)


@pytest.fixture
def reading() -> Callable[..., Metric]:
    """A metric as our agents send it: alias 100 is gas-001."""

    def build(value: float | None, alias: int = 100, at_ms: int = TIME_MS, **options: object) -> Metric:
        properties = {}
        if "quality" in options:
            properties["Quality"] = Property(DataType.INT32, options.pop("quality"))
        if "reason" in options:
            properties["Reason"] = Property(DataType.STRING, options.pop("reason"))
        return Metric(
            alias=alias, timestamp_ms=at_ms, datatype=DataType.DOUBLE, value=value, properties=properties, **options
        )

    return build


@pytest.fixture
def record_of() -> Callable[..., Record]:
    """A record of one batch from rows (channel_id, seconds, value[, reason[, is_historical]])."""

    def build(*rows: tuple[float, ...], batch: int | None = 1, gateway: str = "gw-1", epoch: int = 7) -> Record:
        full = [(*row, *(0, False)[len(row) - 3 :]) for row in rows]
        count = len(full)
        times = np.array([TIME_NS + round(row[1] * 1e9) for row in full], dtype=np.int64)
        return Record(
            channel_id=np.array([row[0] for row in full], dtype=np.uint32),
            phenomenon_ns=times,
            received_ns=times + 50_000_000,
            value=np.array([row[2] for row in full], dtype=np.float64),
            reason=np.array([row[3] for row in full], dtype=np.uint8),
            is_historical=np.array([row[4] for row in full], dtype=np.bool_),
            batch_index=np.zeros(count, dtype=np.int32),
            batches=(None if batch is None else BatchIdentity(gateway, epoch, batch),),
        )

    return build


@pytest.fixture
def condition() -> Callable[..., ConditionDefinition]:
    def build(**changes: object) -> ConditionDefinition:
        base: dict[str, object] = {
            "condition_id": "c",
            "channel_id": 11,
            "set_point": 25.0,
            "priority": 1,
            "colour": "red",
            "title": "t",
        }
        return ConditionDefinition.model_validate(base | changes)

    return build


@pytest.fixture
def time_ns() -> int:
    return TIME_NS
