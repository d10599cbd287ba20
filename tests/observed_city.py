"""What bridges would write to `observations` for a small city: for tests of what comes behind. No server, no clock.

Gas channels swing around a level of their own; some go beyond their set-point for a while and come back. Edge nodes
send some batches twice, some late as history, and leave some out.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from contracts.alarm import Colour, ConditionDefinition, ConditionInput
from contracts.fleet import Channel, District, Domain, FleetSnapshot, Gateway, Node, Site
from contracts.kafka_topic import partition_of
from contracts.notice import Quarantined
from contracts.record import Record, concatenate
from contracts.record_message import ObservationMessage
from contracts.uplink import BatchIdentity

START_NS = 1_761_955_200_000_000_000
SECOND_NS = 1_000_000_000
CHANNELS_OF_GATEWAY = 5


def city_fleet(gateways: int) -> FleetSnapshot:
    """Gateways with five methane channels each; each first channel has a set-point, each second one a score's."""
    names = [f"gw-{number:03d}" for number in range(gateways)]
    nodes = [(name, f"{name}-n{at}") for name in names for at in range(CHANNELS_OF_GATEWAY)]
    return FleetSnapshot(
        revision=1,
        districts=[District(district_id="harbour", name="Harbour")],
        sites=[
            Site(
                site_id="station",
                district_id="harbour",
                domain=Domain.GAS,
                name="Station",
                latitude=1.0,
                longitude=2.0,
            )
        ],
        gateways=[Gateway(gateway_id=name, district_id="harbour", name=name) for name in names],
        nodes=[
            Node(node_id=node, gateway_id=name, bus_id="rtu", site_id="station", model="XRL") for name, node in nodes
        ],
        channels=[
            Channel(channel_id=1 + at, node_id=node, quantity="methane_lel") for at, (_, node) in enumerate(nodes)
        ],
        conditions=[
            condition
            for at, (_, node) in enumerate(nodes)
            if (condition := _condition(1 + at, node, at % CHANNELS_OF_GATEWAY)) is not None
        ],
    )


def _condition(channel_id: int, node: str, place: int) -> ConditionDefinition | None:
    if place > 1:
        return None
    return ConditionDefinition(
        condition_id=f"{node}-high",
        channel_id=channel_id,
        input=ConditionInput.VALUE if place == 0 else ConditionInput.SCORE_EWMA_Z,
        set_point=40.0 if place == 0 else 0.727,
        deadband=2.0 if place == 0 else 0.06,
        on_delay_s=3.0 if channel_id // CHANNELS_OF_GATEWAY % 2 else 0.0,
        priority=1,
        colour=Colour.RED,
        title="Methane",
    )


@dataclass
class ObservedCity:
    """Makes messages of all partitions, second by second: the same seed gives the same ones."""

    gateways: int
    partitions: int
    seed: int = 1
    fleet: FleetSnapshot = field(init=False)

    def __post_init__(self) -> None:
        self.fleet = city_fleet(self.gateways)
        self._random = np.random.default_rng(self.seed)
        self._second = 0
        self._sent: list[Record] = []

    def next_second(self) -> list[tuple[int, ObservationMessage]]:
        """(partition, message) of the next second: one message for each partition."""
        made_ns = START_NS + self._second * SECOND_NS
        parts: dict[int, list[Record]] = {number: [] for number in range(self.partitions)}
        for at in range(self.gateways):
            name = f"gw-{at:03d}"
            parts[partition_of(name, self.partitions)] += self._of_gateway(at, name, made_ns)
        self._second += 1
        return [
            (number, ObservationMessage(made_ns, concatenate(records), quarantined=self._bad(number, made_ns)))
            for number, records in parts.items()
        ]

    def seconds(self, count: int) -> Iterable[tuple[int, ObservationMessage]]:
        """Messages of so many seconds."""
        for _ in range(count):
            yield from self.next_second()

    def _of_gateway(self, at: int, name: str, made_ns: int) -> list[Record]:
        chance = self._random.random()
        record = self._record(at, name, made_ns, is_historical=chance > 0.97)
        if chance < 0.03:
            return []  # lost on the way: a gap
        if chance < 0.08 and self._sent:
            return [record, record]  # sent twice
        return [record]

    def _record(self, at: int, name: str, made_ns: int, *, is_historical: bool) -> Record:
        count = CHANNELS_OF_GATEWAY
        swing = self._random.normal(0.0, 0.4, count)
        is_high = (self._second + 7 * at) % 60 > 48
        value = np.round(10.0 + np.arange(count) + swing + (35.0 if is_high else 0.0), 2)
        measured_ns = made_ns - (3_600 * SECOND_NS if is_historical else 200_000_000)
        record = Record(
            channel_id=np.arange(1 + at * count, 1 + (at + 1) * count, dtype=np.uint32),
            phenomenon_ns=np.full(count, measured_ns, dtype=np.int64),
            received_ns=np.full(count, made_ns - 50_000_000, dtype=np.int64),
            value=value,
            reason=np.where(self._random.random(count) < 0.01, 64, 0).astype(np.uint8),
            is_historical=np.full(count, is_historical),
            batch_index=np.zeros(count, dtype=np.int32),
            batches=(BatchIdentity(name, 3, self._second + 1),),
        )
        self._sent.append(record)
        return record

    def _bad(self, partition: int, made_ns: int) -> tuple[tuple[int | None, Quarantined], ...]:
        if self._second % 20 != partition:
            return ()
        return ((None, Quarantined(made_ns, "spBv1.0/harbour/DDATA/gw-000", "unknown_node", "n-9", b"\x01")),)
