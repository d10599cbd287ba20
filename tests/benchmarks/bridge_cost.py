"""Bridge: CPU microseconds a reading, from the bytes of a DDATA to Kafka.

First the pure parts, one thread, from the bytes of a DDATA to the bytes of a Kafka message.

Payloads of a fixed number of readings, as a gateway sends them: *ours* is what an edge agent makes (alias, timestamp,
double; epoch and batch), *third party* has no identity, names the data type of each metric and sends floats and
integers beside doubles, *with bad ones* has a quality and reason on every tenth. `session` is HostSession.step,
`gather` the buffer's part, `encode` the Arrow message.

Then the whole process between a real mosquitto and a real Kafka: `bridge_process_cost`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from contracts.fleet import FleetSnapshot
from contracts.record_message import encode_observations
from contracts.sparkplug import sparkplug_b_pb2 as wire
from stream_processor.distributed.partition_buffer import GatherBounds, PartitionBuffer
from stream_processor.effects import BatchReceived, Effect
from stream_processor.fleet_index import FleetIndex
from stream_processor.host_session import HostSession
from tests.benchmarks import bridge_process_cost

CHANNELS: Final = 1_000
READINGS: Final = 100_000
ROUNDS: Final = 5
START_MS: Final = 1_761_955_200_000
PARTITIONS: Final = 4
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
        for readings in (10, 100, 200):
            costs = [_cost(shape, readings, has_identity) for _ in range(ROUNDS)]
            session, gather, encode = (min(column) for column in zip(*costs, strict=True))
            total = session + gather + encode
            yield f"  {name:22}  {readings:13}   {session:7.2f}   {gather:6.2f}   {encode:6.2f}   {total:21.2f}"
    yield ""
    yield from bridge_process_cost.measure()


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


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
