"""What the benchmarks of the jobs feed: 20,000 channels of 100 gateways, as messages of `observations`. Seeded."""

from __future__ import annotations

import numpy as np

from contracts.fleet import Channel, District, Domain, FleetSnapshot, Gateway, Node, Site
from contracts.kafka_topic import partition_of
from contracts.record import Record
from contracts.record_message import ObservationMessage, encode_observations
from contracts.uplink import BatchIdentity

PARTITIONS = 4
GATEWAYS = 100
CHANNELS = 20_000
QUANTITIES = ("temperature", "relative_humidity")


def make_fleet(domain: Domain | None = None) -> FleetSnapshot:
    """20,000 channels of 10,000 nodes of 100 gateways.

    Args:
        domain: its default set of detectors scores all channels. None: nothing but `ewma_z` does.
    """
    nodes = [
        Node(
            node_id=f"n-{index:05}", gateway_id=f"gw-{index % GATEWAYS:03}", bus_id="rtu", site_id="s-1", model="bench"
        )
        for index in range(CHANNELS // len(QUANTITIES))
    ]
    return FleetSnapshot(
        revision=1,
        districts=[District(district_id="d-1", name="Bench")],
        sites=[
            Site(
                site_id="s-1",
                district_id="d-1",
                domain=domain or Domain.BUILDING,
                name="Bench",
                latitude=0.0,
                longitude=0.0,
            )
        ],
        gateways=[Gateway(gateway_id=f"gw-{index:03}", district_id="d-1", name="Bench") for index in range(GATEWAYS)],
        nodes=nodes,
        channels=[
            Channel(
                channel_id=1 + index,
                node_id=nodes[index // len(QUANTITIES)].node_id,
                quantity=quantity,
                scores=() if domain is None else None,
            )
            for index, quantity in enumerate(QUANTITIES * len(nodes))
        ],
    )


class Readings:
    """A random walk of every channel, as messages of gateways of one partition, in order of time."""

    def __init__(self, fleet: FleetSnapshot, size: int) -> None:
        self._size = size
        self._random = np.random.default_rng(5)
        gateway_of = {node.node_id: node.gateway_id for node in fleet.nodes}
        self._channels = [
            np.array(
                [
                    channel.channel_id
                    for channel in fleet.channels
                    if partition_of(gateway_of[channel.node_id], PARTITIONS) == partition
                ],
                dtype=np.uint32,
            )
            for partition in range(PARTITIONS)
        ]
        gateways = sorted(gateway.gateway_id for gateway in fleet.gateways)
        self._gateways = [
            next(each for each in gateways if partition_of(each, PARTITIONS) == number) for number in range(PARTITIONS)
        ]
        self._values = 20.0 + self._random.normal(0.0, 3.0, CHANNELS + 1)
        self._made = 0
        self._batches = [0] * PARTITIONS

    def next(self, partition: int) -> bytes:
        """The next message of a partition."""
        self._made += 1
        self._batches[partition] += 1
        channels = self._random.choice(self._channels[partition], self._size, replace=False)
        self._values[channels] += self._random.normal(0.0, 0.1, self._size)
        now_ns = 1_760_000_000_000_000_000 + self._made * 25_000_000
        made_ms = now_ns // 1_000_000 - channels.astype(np.int64) % 900
        record = Record(
            channel_id=channels,
            phenomenon_ns=made_ms * 1_000_000,
            received_ns=np.full(self._size, now_ns),
            value=np.round(self._values[channels], 1),
            reason=np.zeros(self._size, dtype=np.uint8),
            is_historical=np.zeros(self._size, dtype=np.bool_),
            batch_index=np.zeros(self._size, dtype=np.int32),
            batches=(BatchIdentity(self._gateways[partition], 1, self._batches[partition]),),
        )
        return encode_observations(ObservationMessage(now_ns, record))
