"""Bridge: CPU microseconds a reading, from the bytes of a DDATA to Kafka.

First the pure parts, one thread, from the bytes of a DDATA to the bytes of a Kafka message.

Payloads of a fixed number of readings, as a gateway sends them: *ours* is what an edge agent makes (alias, timestamp,
double; epoch and batch), *third party* has no identity, names the data type of each metric and sends floats and
integers beside doubles, *with bad ones* has a quality and reason on every tenth. `session` is HostSession.step,
`gather` the buffer's part, `encode` the Arrow message.

Then the whole process between a real mosquitto and a real Kafka, with payloads made beforehand and sent on a fixed
schedule: its CPU from /proc, and how long after the last payload the last reading stood in Kafka.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import paho.mqtt.client as mqtt

from contracts.fleet import FleetSnapshot
from contracts.kafka_topic import OBSERVATIONS
from contracts.record_message import decode_observations, encode_observations
from contracts.sparkplug import sparkplug_b_pb2 as wire
from stream_processor.distributed.partition_buffer import GatherBounds, PartitionBuffer
from stream_processor.effects import BatchReceived, Effect
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession
from tests.benchmarks.platform_stack import cpu_seconds, free_port, mosquitto, program, resident_mb, wait_until
from tests.running_kafka import RunningKafka, running_kafka

CHANNELS: Final = 1_000
READINGS: Final = 100_000
ROUNDS: Final = 5
START_MS: Final = 1_761_955_200_000
PARTITIONS: Final = 4
PROCESS_SECONDS: Final = 8
PROCESS_RATES: Final = ((10_000, 10), (10_000, 200), (50_000, 200), (100_000, 200))
"""Readings a second, and readings a payload."""
UINT64, DOUBLE, FLOAT, INT32 = 8, 10, 9, 3
Shape = Callable[[int], wire.Metric]


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield "  payload                 readings each   session   gather   encode   CPU us/reading in all"
    for name, shape, has_identity in (
        ("ours", _ours, True),
        ("ours, with bad ones", _ours_with_bad_ones, True),
        ("third party", _third_party, False),
    ):
        for readings in (10, 200):
            costs = [_cost(shape, readings, has_identity) for _ in range(ROUNDS)]
            session, gather, encode = (min(column) for column in zip(*costs, strict=True))
            total = session + gather + encode
            yield f"  {name:22}  {readings:13}   {session:7.2f}   {gather:6.2f}   {encode:6.2f}   {total:21.2f}"
    yield ""
    yield from _process_costs()


def _cost(shape: Shape, readings: int, has_identity: bool) -> tuple[float, float, float]:
    session = HostSession(FleetIndex(_fleet()))
    for kind, birth in _births(has_identity):
        session.step(f"spBv1.0/bench/{kind}", birth, START_MS * 1_000_000)
    payloads = [_ddata(shape, number, readings, has_identity) for number in range(READINGS // readings)]
    effects: list[Effect] = []
    begin_s = time.thread_time()
    for number, payload in enumerate(payloads):
        effects += session.step("spBv1.0/bench/DDATA/gw/b", payload, (START_MS + number) * 1_000_000)
    heard_s = time.thread_time()
    assert sum(len(each.record) for each in effects if isinstance(each, BatchReceived)) == READINGS
    messages = list(_gathered(effects, readings))
    gathered_s = time.thread_time()
    for message in messages:
        encode_observations(message)
    end_s = time.thread_time()
    return tuple(1e6 * each / READINGS for each in (heard_s - begin_s, gathered_s - heard_s, end_s - gathered_s))  # type: ignore[return-value]


def _gathered(effects: Sequence[Effect], readings: int) -> Iterator[object]:
    """A message for each 600 readings."""
    buffer = PartitionBuffer(PARTITIONS, GatherBounds(500, 50_000_000))
    chunk = max(1, 600 // readings)
    for start in range(0, len(effects), chunk):
        for effect in effects[start : start + chunk]:
            buffer.add(effect, START_MS * 1_000_000)
        yield from (message for _, message in buffer.pop_due(START_MS * 1_000_000) if len(message.record))


def _births(has_identity: bool) -> Iterator[tuple[str, bytes]]:
    node = [wire.Metric(name="bdSeq", datatype=UINT64, long_value=0)]
    if has_identity:
        node.append(wire.Metric(name="Uplink/Epoch", datatype=UINT64, long_value=1))
    device = [
        wire.Metric(name=f"n-{number}/methane_lel", alias=number, datatype=_type(number, has_identity), is_null=True)
        for number in range(CHANNELS)
    ]
    for seq, (kind, metrics) in enumerate((("NBIRTH/gw", node), ("DBIRTH/gw/b", device))):
        yield kind, wire.Payload(timestamp=START_MS, seq=seq, metrics=metrics).SerializeToString()


def _ddata(shape: Shape, number: int, readings: int, has_identity: bool) -> bytes:
    metrics = [shape(number * readings + each) for each in range(readings)]
    if has_identity:
        metrics.append(wire.Metric(name="Uplink/Epoch", timestamp=START_MS, datatype=UINT64, long_value=1))
        metrics.append(wire.Metric(name="Uplink/Batch", timestamp=START_MS, datatype=UINT64, long_value=number))
    return wire.Payload(timestamp=START_MS, seq=(number + 2) % 256, metrics=metrics).SerializeToString()


def _ours(number: int) -> wire.Metric:
    return wire.Metric(alias=number % CHANNELS, timestamp=START_MS + number, double_value=20.0 + number % 97 / 10)


def _ours_with_bad_ones(number: int) -> wire.Metric:
    metric = _ours(number)
    if number % 10 == 0:
        metric.properties.keys.extend(("Quality", "Reason"))
        metric.properties.values.add(type=INT32, int_value=0)
        metric.properties.values.add(type=12, string_value="no_answer")
        metric.is_null = True
        metric.ClearField("double_value")
    return metric


def _type(number: int, has_identity: bool) -> int:
    return DOUBLE if has_identity else (DOUBLE, FLOAT, INT32)[number % 3]


def _third_party(number: int) -> wire.Metric:
    metric = wire.Metric(alias=number % CHANNELS, timestamp=START_MS + number)
    metric.datatype = _type(number % CHANNELS, has_identity=False)
    match metric.datatype:
        case 10:
            metric.double_value = 20.0 + number % 97 / 10
        case 9:
            metric.float_value = 20.0 + number % 97 / 10
        case _:
            metric.int_value = number % 97
    return metric


def _fleet() -> FleetSnapshot:
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "bench", "name": "Bench"}],
            "sites": [
                {"site_id": "s", "district_id": "bench", "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}
            ],
            "gateways": [{"gateway_id": "gw", "district_id": "bench", "name": "G"}],
            "nodes": [
                {"node_id": f"n-{number}", "gateway_id": "gw", "bus_id": "b", "site_id": "s", "model": "m"}
                for number in range(CHANNELS)
            ],
            "channels": [
                {"channel_id": number + 1, "node_id": f"n-{number}", "quantity": "methane_lel"}
                for number in range(CHANNELS)
            ],
            "conditions": [],
        }
    )


# --- the process ---------------------------------------------------------------------------------------------------


def _process_costs() -> Iterator[str]:
    yield "  offered/s    sent/s   readings each   CPU us/reading   CPU us/message   last after   resident MB"
    with tempfile.TemporaryDirectory() as name, running_kafka(Path(name) / "kafka", PARTITIONS) as kafka:
        folder = Path(name)
        port = free_port()
        (folder / "kept").mkdir()
        (folder / "token").write_text("no registry: the fleet on disk counts")
        (folder / "kept/fleet.json").write_text(_fleet().model_dump_json())
        (folder / "bridge.toml").write_text(
            f'directory = "kept"\n[mqtt]\nport = {port}\n'
            f'[kafka]\nservers = ["{kafka.address}"]\npartitions = {PARTITIONS}\n'
            '[registry]\nurl = "http://127.0.0.1:9"\ntoken_file = "token"\n'
        )
        arguments = ("stream_processor.cli", "bridge", "--config", str(folder / "bridge.toml"))
        with mosquitto(folder, port), program(folder, *arguments) as process:
            log = folder / "stream_processor.log"
            wait_until("the bridge follows commands", lambda: "commands_followed" in log.read_text())
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            client.max_queued_messages_set(0)
            client.connect("127.0.0.1", port)
            client.loop_start()
            for rate, readings in PROCESS_RATES:
                yield _process_cost(client, kafka, process.pid, rate, readings)
            client.disconnect()
            client.loop_stop()


def _process_cost(client: mqtt.Client, kafka: RunningKafka, pid: int, rate: int, readings: int) -> str:
    count = rate * PROCESS_SECONDS // readings
    turns = [_ddata(_ours, number, readings, True) for number in range(256)]
    begin = {row[:2] for row in kafka.read_all(OBSERVATIONS)}
    for kind, payload in _births(True):
        client.publish(f"spBv1.0/bench/{kind}", payload)
    time.sleep(1.0)
    cpu_s, begin_s = cpu_seconds(pid), time.monotonic()
    for number in range(count):
        wait_s = begin_s + number * readings / rate - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        client.publish("spBv1.0/bench/DDATA/gw/b", turns[number % 256])
    took_s, sent_ns = time.monotonic() - begin_s, time.time_ns()
    written = [0, 0]

    def is_all_written() -> bool:
        rows = [row for row in kafka.read_all(OBSERVATIONS) if row[:2] not in begin]
        messages = [message for row in rows if len((message := decode_observations(row[3] or b"")).record)]
        written[:] = [sum(len(message.record) for message in messages), max(message.made_ns for message in messages)]
        return written[0] >= count * readings

    wait_until("all is in Kafka", is_all_written)
    cpu_s = cpu_seconds(pid) - cpu_s
    sent = count * readings
    per_reading, per_message, last_s = 1e6 * cpu_s / sent, 1e6 * cpu_s / count, (written[1] - sent_ns) / 1e9
    return (
        f"  {rate:9,}   {sent / took_s:7,.0f}   {readings:13}   {per_reading:14.2f}   {per_message:14.0f}   "
        f"{last_s:8.2f} s   {resident_mb(pid):11.0f}"
    )


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
