"""The bridge as a process in steady state: CPU microseconds a reading and a payload, between real servers.

100 gateways of 275 channels are born, then send payloads made beforehand on a fixed schedule, and are acknowledged as
the store job acknowledges: each quarter of a second what has arrived on Kafka, one command a gateway. What counts is
the process' user and system time (/proc) after a warm-up, commands and status included.

Two lines at one rate tell what a reading costs and what comes with a payload.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS, UPLINK_COMMANDS, partition_of
from contracts.record_message import decode_observations
from contracts.sparkplug import sparkplug_b_pb2 as wire
from stream_processor.distributed.acknowledge import acknowledgements
from tests.benchmarks.platform_stack import cpu_seconds, free_port, mosquitto, program, resident_mb, wait_until
from tests.running_kafka import running_kafka

GATEWAYS: Final = 100
CHANNELS: Final = 275
PARTITIONS: Final = 4
START_MS: Final = 1_761_955_200_000
WARM_UP_S: Final = 4.0
COUNTED_S: Final = 10.0
CASES: Final = ((10_000, 100), (50_000, 100), (50_000, 200), (100_000, 100), (100_000, 200))
"""Readings a second, and readings a payload."""
ACKNOWLEDGED_EACH_S: Final = 0.25
DISTRICT: Final = "bench"
UINT64, DOUBLE = 8, 10


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield "  offered/s    sent/s   readings each   CPU us/reading   CPU us/payload   NCMD/s   resident MB"
    with (
        tempfile.TemporaryDirectory() as name,
        running_kafka(Path(name) / "kafka", PARTITIONS) as kafka,
        _acknowledging(kafka.address),
    ):
        for rate, readings in CASES:
            with tempfile.TemporaryDirectory(dir=name) as folder:
                yield _cost(Path(folder), kafka.address, rate, readings)


def _cost(folder: Path, kafka_address: str, rate: int, readings: int) -> str:
    port = free_port()
    _configure(folder, port, kafka_address)
    arguments = ("stream_processor.cli", "bridge", "--config", str(folder / "bridge.toml"))
    with mosquitto(folder, port), program(folder, *arguments) as process, _connected(port) as client:
        log = folder / "stream_processor.log"
        wait_until("the bridge follows commands", lambda: "commands_followed" in log.read_text())
        for gateway in range(GATEWAYS):
            for kind, payload in _births(gateway):
                client.publish(f"spBv1.0/{DISTRICT}/{kind}", payload)
        fleet = _Fleet(client, readings)
        fleet.send(rate, WARM_UP_S)
        cpu_s, sent, commands, begin_s = cpu_seconds(process.pid), fleet.sent, fleet.commands, time.monotonic()
        fleet.send(rate, COUNTED_S)
        took_s = time.monotonic() - begin_s
        cpu_s, sent, commands = cpu_seconds(process.pid) - cpu_s, fleet.sent - sent, fleet.commands - commands
        return (
            f"  {rate:9,}   {sent * readings / took_s:7,.0f}   {readings:13}   {1e6 * cpu_s / sent / readings:14.2f}   "
            f"{1e6 * cpu_s / sent:14.0f}   {commands / took_s:6.0f}   {resident_mb(process.pid):11.0f}"
        )


class _Fleet:
    """Sends one payload of each gateway after the other."""

    def __init__(self, client: mqtt.Client, readings: int) -> None:
        self._client = client
        self._bodies = [_body(first, readings) for first in range(0, CHANNELS, 25)]
        self.sent = 0
        self.commands = 0
        client.on_message = self._count
        client.subscribe(f"spBv1.0/{DISTRICT}/NCMD/#")
        self._readings = readings

    def send(self, rate: int, seconds: float) -> None:
        """On schedule: a payload that is late is sent at once."""
        begin_s, period_s = time.monotonic(), self._readings / rate
        for number in range(round(seconds / period_s)):
            wait_s = begin_s + number * period_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)
            turn, gateway = divmod(self.sent, GATEWAYS)
            payload = self._bodies[turn % len(self._bodies)] + _end(turn)
            self._client.publish(f"spBv1.0/{DISTRICT}/DDATA/gw-{gateway}/b", payload)
            self.sent += 1

    def _count(self, *_: object) -> None:
        self.commands += 1


def _body(first: int, readings: int) -> bytes:
    """Readings of channels in a row, as an agent polls them."""
    metrics = [
        wire.Metric(alias=number % CHANNELS + 1, timestamp=START_MS + number, double_value=20.0 + number % 97 / 10)
        for number in range(first, first + readings)
    ]
    return wire.Payload(timestamp=START_MS, metrics=metrics).SerializeToString()


def _end(turn: int) -> bytes:
    """Epoch, batch and seq: 0 and 1 were the births."""
    numbers = (("Uplink/Epoch", 1), ("Uplink/Batch", turn + 1))
    metrics = [wire.Metric(name=name, timestamp=START_MS, datatype=UINT64, long_value=each) for name, each in numbers]
    return wire.Payload(seq=(turn + 2) % 256, metrics=metrics).SerializeToString()


def _births(gateway: int) -> Iterator[tuple[str, bytes]]:
    node = [
        wire.Metric(name="bdSeq", datatype=UINT64, long_value=0),
        wire.Metric(name="Uplink/Epoch", datatype=UINT64, long_value=1),
    ]
    device = [
        wire.Metric(name=f"n-{gateway}-{number}/methane_lel", alias=number + 1, datatype=DOUBLE, is_null=True)
        for number in range(CHANNELS)
    ]
    for seq, (kind, metrics) in enumerate(((f"NBIRTH/gw-{gateway}", node), (f"DBIRTH/gw-{gateway}/b", device))):
        yield kind, wire.Payload(timestamp=START_MS, seq=seq, metrics=metrics).SerializeToString()


@contextlib.contextmanager
def _connected(port: int) -> Iterator[mqtt.Client]:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def _acknowledging(kafka_address: str) -> Iterator[None]:
    """Another process answers for the store job."""
    process = multiprocessing.get_context("spawn").Process(target=_acknowledge, args=(kafka_address,), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join(10)


def _acknowledge(kafka_address: str) -> None:
    asyncio.run(_acknowledge_for_ever(kafka_address))


async def _acknowledge_for_ever(kafka_address: str) -> None:
    districts = {f"gw-{number}": DISTRICT for number in range(GATEWAYS)}
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka_address, auto_offset_reset="latest")
    producer = AIOKafkaProducer(bootstrap_servers=kafka_address, acks="all")
    await consumer.start()
    await producer.start()
    consumer.assign([TopicPartition(OBSERVATIONS.name, number) for number in range(PARTITIONS)])
    while True:
        await asyncio.sleep(ACKNOWLEDGED_EACH_S)
        arrived = (await consumer.getmany(timeout_ms=10)).values()
        messages = [decode_observations(each.value) for batch in arrived for each in batch]
        identities = [batch for message in messages for batch in message.record.batches if batch is not None]
        for command in acknowledgements(identities, districts):
            partition = partition_of(command.gateway_id, PARTITIONS)
            await producer.send(UPLINK_COMMANDS.name, command.model_dump_json().encode(), partition=partition)


def _configure(folder: Path, port: int, kafka_address: str) -> None:
    (folder / "kept").mkdir()
    (folder / "token").write_text("no registry: the fleet on disk counts")
    (folder / "kept/fleet.json").write_text(_fleet().model_dump_json())
    (folder / "bridge.toml").write_text(
        f'directory = "kept"\n[mqtt]\nport = {port}\n'
        f'[kafka]\nservers = ["{kafka_address}"]\npartitions = {PARTITIONS}\n'
        '[registry]\nurl = "http://127.0.0.1:9"\ntoken_file = "token"\n'
    )


def _fleet() -> FleetSnapshot:
    places = [(gateway, number) for gateway in range(GATEWAYS) for number in range(CHANNELS)]
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": DISTRICT, "name": "Bench"}],
            "sites": [
                {"site_id": "s", "district_id": DISTRICT, "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}
            ],
            "gateways": [
                {"gateway_id": f"gw-{number}", "district_id": DISTRICT, "name": "G"} for number in range(GATEWAYS)
            ],
            "nodes": [
                {
                    "node_id": f"n-{gateway}-{number}",
                    "gateway_id": f"gw-{gateway}",
                    "bus_id": "b",
                    "site_id": "s",
                    "model": "m",
                }
                for gateway, number in places
            ],
            "channels": [
                {"channel_id": channel_id, "node_id": f"n-{gateway}-{number}", "quantity": "methane_lel"}
                for channel_id, (gateway, number) in enumerate(places, start=1)
            ],
            "conditions": [],
        }
    )


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
