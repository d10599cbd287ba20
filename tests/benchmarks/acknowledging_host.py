"""A subscriber that counts readings, and acknowledges batches of an edge agent when they are durable.

It stands for the platform where that would be the slowest part: it writes each DDATA to a journal, calls fsync for all
that came within `COMMIT_S`, and then sends the NCMD of docs/contract (Uplink/AckEpoch, Uplink/AckRanges), as the
platform does. Messages of the peers are JSON and are only counted: they ask for no acknowledgement.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts import uplink
from contracts.ranges import RangeSet
from contracts.sparkplug import sparkplug_b_pb2 as wire
from contracts.sparkplug.datatype import DataType, to_wire

COMMIT_S: Final = 0.05
"""As the stream processor's."""
THINGSBOARD_TOPIC: Final = "v1/gateway/telemetry"
THINGSBOARD_REQUEST: Final = "v1/devices/me/rpc/request/"
THINGSBOARD_LIMITS: Final = {
    "maxPayloadSize": 65_536,
    "maxInflightMessages": 1_000,
    "rateLimits": {},
    "gatewayRateLimits": {},
}
"""What a platform answers that limits nothing; a thingsboard-gateway sends no reading before it knows."""
_IDENTITY_METRICS: Final = 2

CountReadings = Callable[[bytes], int]


class AcknowledgingHost:
    """Connected until closed."""

    def __init__(self, port: int, journal: Path) -> None:
        self.readings_total = 0
        self._journal = journal.open("ab")
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[int, RangeSet]] = {}
        """By edge node and epoch: what is to be acknowledged at the next commit."""
        self._is_closing = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="counting-host")
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.subscribe(
            [("spBv1.0/+/DDATA/#", 0), ("peer/#", 0), (THINGSBOARD_TOPIC, 0), (THINGSBOARD_REQUEST + "+", 0)]
        )
        self._client.loop_start()
        self._committing = threading.Thread(target=self._commit_for_ever, daemon=True)
        self._committing.start()

    def close(self) -> None:
        self._is_closing.set()
        self._committing.join()
        self._client.disconnect()
        self._client.loop_stop()
        self._journal.close()

    def _take(self, _client: mqtt.Client, _user: object, message: mqtt.MQTTMessage) -> None:
        if message.topic.startswith("peer/") or message.topic == THINGSBOARD_TOPIC:
            with self._lock:
                self.readings_total += count_json(message.payload)
            return
        if message.topic.startswith(THINGSBOARD_REQUEST):
            answer = message.topic.replace("/request/", "/response/")
            self._client.publish(answer, json.dumps(THINGSBOARD_LIMITS))
            return
        payload = wire.Payload.FromString(message.payload)
        epoch, batch = (metric.long_value for metric in payload.metrics[:_IDENTITY_METRICS])
        _, group_id, _, edge_node_id, _ = message.topic.split("/")
        with self._lock:
            self._journal.write(message.payload)
            ranges = self._waiting.setdefault(f"{group_id}/NCMD/{edge_node_id}", {}).setdefault(epoch, RangeSet())
            ranges.add(batch)
            self.readings_total += sum(metric.HasField("double_value") for metric in payload.metrics)

    def _commit_for_ever(self) -> None:
        while not self._is_closing.wait(COMMIT_S):
            with self._lock:
                waiting, self._waiting = self._waiting, {}
                self._journal.flush()
            if not waiting:
                continue
            os.fsync(self._journal.fileno())
            for place, epochs in waiting.items():
                for epoch, ranges in epochs.items():
                    self._client.publish(f"spBv1.0/{place}", _acknowledgement(epoch, ranges))


def count_json(octets: bytes) -> int:
    """Numbers in a peer's message, however deep; times and names are no readings."""
    return _count_numbers(json.loads(octets))


def _count_numbers(part: Any) -> int:
    if isinstance(part, dict):
        return sum(_count_numbers(value) for key, value in part.items() if key not in {"ts", "t", "device"})
    if isinstance(part, list):
        return sum(map(_count_numbers, part))
    return int(isinstance(part, int | float))


def _acknowledgement(epoch: int, ranges: RangeSet) -> bytes:
    payload = wire.Payload(timestamp=time.time_ns() // 1_000_000)
    payload.metrics.add(name=uplink.ACK_EPOCH, datatype=DataType.UINT64, long_value=epoch)
    array = to_wire(DataType.UINT64_ARRAY, ranges.flatten())
    payload.metrics.add(name=uplink.ACK_RANGES, datatype=DataType.UINT64_ARRAY, bytes_value=array)
    octets: bytes = payload.SerializeToString()
    return octets
