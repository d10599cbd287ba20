"""Embedded path: readings per second that go from the broker into the durable store without growing lag.

Open loop: edge nodes publish DDATA of 200 readings on a fixed schedule, late or not, at doubling rates. A rate holds
when what was sent is stored and acknowledged within LAG_LIMIT_S after its end; the figure is the highest rate that
holds. The generator builds its bytes with the protobuf runtime directly, not with our codec; it and the broker use
the same two cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt

from contracts.sparkplug import sparkplug_b_pb2 as wire
from tests.benchmarks.platform_stack import Stack, cpu_seconds, platform, resident_mb, wait_until

GATEWAYS = 10
NODES_PER_GATEWAY = 1_000
READINGS_PER_MESSAGE = 200
RATES = (5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 120_000)
SECONDS_PER_RATE = 8
LAG_LIMIT_S = 2.0
DOUBLE, BOOLEAN, UINT64 = 10, 11, 8


def fleet_toml() -> str:
    rows = ['[[district]]\ndistrict_id = "bench"\nname = "Bench"\n']
    rows.append(
        '[[site]]\nsite_id = "s"\ndistrict_id = "bench"\ndomain = "gas"\nname = "S"\nlatitude = 0.0\nlongitude = 0.0\n'
    )
    for gateway in range(GATEWAYS):
        rows.append(f'[[gateway]]\ngateway_id = "gw-{gateway}"\ndistrict_id = "bench"\nname = "G"\n')
        rows += [
            f'[[node]]\nnode_id = "n-{gateway}-{node}"\ngateway_id = "gw-{gateway}"\nbus_id = "b"\nsite_id = "s"\n'
            f'model = "bench"\n[[node.channel]]\nquantity = "methane_lel"\n[[node.channel.condition]]\n'
            f'condition_id = "c-{gateway}-{node}"\nset_point = 90.0\npriority = 1\ncolour = "red"\ntitle = "t"\n'
            for node in range(NODES_PER_GATEWAY)
        ]
    return "\n".join(rows)


class LoadGateway:
    """An edge node that sends what it is told, and counts nothing but acknowledgements."""

    def __init__(self, number: int, client: mqtt.Client) -> None:
        self._number = number
        self._client = client
        self._seq = -1
        self._batch = 0
        self._position = 0

    def birth(self) -> None:
        self._publish(
            "NBIRTH", "", self._payload([self._named("bdSeq", UINT64, 0), self._named("Uplink/Epoch", UINT64, 1)])
        )
        metrics = [
            self._named(f"n-{self._number}-{node}/methane_lel", DOUBLE, None) for node in range(NODES_PER_GATEWAY)
        ]
        for alias, metric in enumerate(metrics):
            metric.alias = alias
        self._publish("DBIRTH", "/b", self._payload(metrics))

    def send(self, value: float) -> None:
        """One DDATA of the next 200 nodes."""
        now_ms = time.time_ns() // 1_000_000
        self._batch += 1
        metrics = [self._named("Uplink/Epoch", UINT64, 1), self._named("Uplink/Batch", UINT64, self._batch)]
        for _ in range(READINGS_PER_MESSAGE):
            metrics.append(wire.Metric(alias=self._position, timestamp=now_ms, double_value=value))
            self._position = (self._position + 1) % NODES_PER_GATEWAY
        self._publish("DDATA", "/b", self._payload(metrics))

    def _publish(self, kind: str, device: str, payload: bytes) -> None:
        self._client.publish(f"spBv1.0/bench/{kind}/gw-{self._number}{device}", payload)

    def _payload(self, metrics: list[wire.Metric]) -> bytes:
        self._seq = (self._seq + 1) % 256
        return wire.Payload(timestamp=time.time_ns() // 1_000_000, seq=self._seq, metrics=metrics).SerializeToString()

    @staticmethod
    def _named(name: str, datatype: int, number: int | None) -> wire.Metric:
        metric = wire.Metric(name=name, datatype=datatype)
        if number is None:
            metric.is_null = True
        else:
            metric.long_value = number
        return metric


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory() as folder, platform(Path(folder), fleet_toml()) as stack:
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        client.max_queued_messages_set(0)
        client.connect("127.0.0.1", stack.mqtt_port)
        client.loop_start()
        gateways = [LoadGateway(number, client) for number in range(GATEWAYS)]
        for gateway in gateways:
            gateway.birth()
        yield from _climb(stack, gateways)
        client.disconnect()
        client.loop_stop()


def _climb(stack: Stack, gateways: list[LoadGateway]) -> Iterator[str]:
    best = 0
    yield "  offered/s   sent/s   drained after   processor CPU us/reading   resident MB"
    for rate in RATES:
        stored_before, cpu_before = stack.stored_total(), cpu_seconds(stack.processor.pid)
        sent, took_s = _offer(gateways, rate)
        lag_s = _drain(stack, stored_before + sent)
        cpu_us = 1e6 * (cpu_seconds(stack.processor.pid) - cpu_before) / sent
        lag = f"{lag_s:6.2f} s" if lag_s is not None else f"> {LAG_LIMIT_S:.0f} s"
        memory_mb = resident_mb(stack.processor.pid)
        yield f"  {rate:9,}  {sent / took_s:7,.0f}   {lag:>13}   {cpu_us:24.1f}   {memory_mb:11.0f}"
        if lag_s is None or sent / took_s < 0.95 * rate:
            break
        best = rate
    yield f"  highest rate without growing lag: {best:,} readings/s"


def _offer(gateways: list[LoadGateway], rate: int) -> tuple[int, float]:
    messages = rate * SECONDS_PER_RATE // READINGS_PER_MESSAGE
    interval_s = READINGS_PER_MESSAGE / rate
    start_s = time.monotonic()
    for number in range(messages):
        wait_s = start_s + number * interval_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        gateways[number % len(gateways)].send(float(number % 50))
    return messages * READINGS_PER_MESSAGE, time.monotonic() - start_s


def _drain(stack: Stack, expected: int) -> float | None:
    """How long the rest took, or None if it was not stored within the limit."""
    start_s = time.monotonic()
    try:
        wait_until("all is stored", lambda: stack.stored_total() >= expected, LAG_LIMIT_S)
    except TimeoutError:
        return None
    return time.monotonic() - start_s


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
