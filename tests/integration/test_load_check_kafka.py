"""`city-simulator load-check --scored-from-kafka` on a real Kafka: scored messages are compared with a ledger."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from contracts.fleet import Channel, FleetSnapshot
from contracts.kafka_topic import SCORED, partition_of
from contracts.quality import Reason
from contracts.record import Record
from contracts.record_message import ScoredMessage, encode_scored
from contracts.uplink import BatchIdentity
from device_registry.fleet_file import parse_fleet_file
from simulators.load_fleet import LoadOptions, LoadPlan, fleet_document
from simulators.load_gateway import Counters, LoadGateway
from simulators.load_ledger import LoadLedger
from simulators.load_spool import LoadSpool, SpoolAllowance
from tests.running_kafka import running_kafka

pytestmark = pytest.mark.needs_kafka
NOW_MS = 1_795_000_000_000
PARTITIONS = 2


@pytest.fixture(scope="module")
def plan():
    return LoadPlan(LoadOptions(gateways=3, rate_per_s=20.0, nodes_per_gateway=8))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory):
    with running_kafka(tmp_path_factory.mktemp("kafka"), PARTITIONS) as server:
        yield server


def make_fleet(plan):
    file = parse_fleet_file(fleet_document(plan), "fleet.toml")
    rows = [(node.node_id, channel.quantity) for node in file.node for channel in node.channel]
    return FleetSnapshot(
        revision=1,
        districts=list(file.district),
        sites=list(file.site),
        gateways=list(file.gateway),
        nodes=[node.model_dump(exclude={"channel"}) for node in file.node],
        channels=[
            Channel(channel_id=number, node_id=node_id, quantity=quantity)
            for number, (node_id, quantity) in enumerate(rows, start=1)
        ],
    )


def scored(plan, fleet, gateway, batch, values, source_offset):
    """What the score job says of one batch."""
    ids = {(each.node_id, each.quantity): each.channel_id for each in fleet.channels}
    bus = gateway.buses[0]
    count = bus.channel_count
    times_ns = 1_000_000 * (NOW_MS - np.array(plan.offsets_ms(count), dtype=np.int64))
    record = Record(
        channel_id=np.array([ids[node_id, kind.quantity] for node_id, kind in bus.channels()], dtype=np.uint32),
        phenomenon_ns=times_ns,
        received_ns=times_ns,
        value=values,
        reason=np.array([Reason.NO_ANSWER, *[Reason.OK] * (count - 1)], dtype=np.uint8),
        is_historical=np.zeros(count, np.bool_),
        batch_index=np.zeros(count, np.int32),
        batches=(BatchIdentity(gateway.gateway_id, 1, batch),),
    )
    return ScoredMessage(source_offset, 0, record, times_ns, np.full(count, np.nan), np.zeros(count, np.bool_))


def write(kafka, messages):
    async def send():
        producer = AIOKafkaProducer(bootstrap_servers=kafka.address)
        await producer.start()
        try:
            for partition, message in messages:
                await producer.send_and_wait(SCORED.name, encode_scored(message), partition=partition)
        finally:
            await producer.stop()

    asyncio.run(send())


def check(kafka, folder):
    arguments = ["load-check", "--ledger", folder / "ledger", "--fleet", folder / "fleet.json"]
    command = [sys.executable, "-m", "simulators.cli", *map(str, arguments), "--scored-from-kafka", kafka.address]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_scored_messages_are_compared_with_the_ledger_each_once(kafka, plan, tmp_path):
    fleet = make_fleet(plan)
    (tmp_path / "fleet.json").write_text(fleet.model_dump_json())
    ledger = LoadLedger(tmp_path / "ledger", plan, 0)
    messages = []
    for number, planned in enumerate(plan.gateways):
        gateway = LoadGateway(planned, plan.offsets_ms, LoadSpool(SpoolAllowance(999), 9.0, 9.0), 1, None, Counters())
        values = np.arange(planned.buses[0].channel_count) / 8
        values[0] = np.nan
        batch = gateway.make(0, NOW_MS, values, {0: Reason.NO_ANSWER}, 0.0)
        ledger.commit([(number, batch)])
        ledger.note_acknowledged(number, [batch], 0)
        partition = partition_of(planned.gateway_id, PARTITIONS)
        message = scored(plan, fleet, planned, 1, values, source_offset=2 * number)
        messages += [(partition, message), (partition, message)]
    ledger.close()

    write(kafka, messages[2:])
    ended = check(kafka, tmp_path)
    assert ended.returncode == 1
    assert f"missing                  {plan.gateways[0].buses[0].channel_count}" in ended.stdout, ended.stderr
    partition, first = messages[0]
    write(kafka, [(partition, replace(first, source_offset=100))])
    ended = check(kafka, tmp_path)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    write(kafka, [(partition, replace(first, source_offset=101))])
    ended = check(kafka, tmp_path)
    assert ended.returncode == 1
    assert f"double                   {plan.gateways[0].buses[0].channel_count}" in ended.stdout
