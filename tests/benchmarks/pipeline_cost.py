"""The pipeline's step: readings a second and core, with quality control, detectors and conditions; no I/O.

One thread, its own CPU time; of several rounds the best, since the machine is shared. Live readings of gateways with
ten channels each, every gateway once a second with a batch of its own; 40 conditions, one of them active all the time.
*History*: what gateways spooled, so that channels stand many times in a record. All channels are of gas: either with
`ewma_z` alone (`scores = []`), or with the default set of their domain, whose warm-up the first rounds are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import numpy as np

from contracts.fleet import FleetSnapshot
from contracts.record import Record
from contracts.uplink import BatchIdentity
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.pipeline import Pipeline

CHANNELS: Final = 20_000
CHANNELS_OF_GATEWAY: Final = 10
CONDITIONS: Final = 40
READINGS: Final = 400_000
ROUNDS: Final = 10
WARM_UP_ROUNDS: Final = 5
"""A hundred readings of each channel."""
START_NS: Final = 1_761_955_200_000_000_000
SECOND_NS: Final = 1_000_000_000


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    for title, scores in (("ewma_z alone", []), ("default set", None)):
        yield from _measure_set(title, FleetIndex(_fleet(scores)))


def _measure_set(title: str, index: FleetIndex) -> Iterator[str]:
    yield f"  {title + ', records of':<28}readings/s/core   CPU us/record"
    for name, size, is_history in (
        ("500 live", 500, False),
        ("5000 live", 5_000, False),
        ("500 of history", 500, True),
    ):
        pipeline = Pipeline()
        pipeline.take_fleet(index)
        rounds = [_cpu_s(pipeline, list(_records(size, turn, is_history=is_history))) for turn in range(ROUNDS)]
        cpu_s = min(rounds[WARM_UP_ROUNDS:])
        yield f"  {name:<26}{READINGS / cpu_s:>17,.0f}{cpu_s / (READINGS / size) * 1e6:>16.0f}"
    before_s = time.process_time()
    snapshot = pipeline.snapshot()
    snapshot_s = time.process_time() - before_s
    Pipeline().restore(snapshot)
    restore_s = time.process_time() - before_s - snapshot_s
    yield (
        f"  snapshot: {len(snapshot) / CHANNELS:.0f} bytes a channel, {snapshot_s / CHANNELS * 1e9:.0f} ns to make, "
        f"{restore_s / CHANNELS * 1e9:.0f} ns to restore"
    )


def _cpu_s(pipeline: Pipeline, records: list[Record]) -> float:
    before_s = time.process_time()
    for record in records:
        pipeline.step(record, 1)
        pipeline.find_stale(int(record.received_ns[-1]))
    return time.process_time() - before_s


def _records(size: int, turn: int, *, is_history: bool) -> Iterator[Record]:
    """One turn of READINGS readings; turns follow one another in time."""
    chance = np.random.default_rng(turn)
    passes = READINGS // CHANNELS
    if is_history:
        # Each gateway's spool one after another: its channels second by second.
        channel, second = np.divmod(np.arange(READINGS), passes * CHANNELS_OF_GATEWAY)
        channel = channel * CHANNELS_OF_GATEWAY + second % CHANNELS_OF_GATEWAY
        second = second // CHANNELS_OF_GATEWAY
    else:
        second, channel = np.divmod(np.arange(READINGS), CHANNELS)
    phenomenon_ns = START_NS + (turn * passes + second) * SECOND_NS
    value = np.round(chance.normal(10.0, 1.0, READINGS), 1)
    for start in range(0, READINGS, size):
        at = slice(start, start + size)
        gateway, batch_index = np.unique(channel[at] // CHANNELS_OF_GATEWAY, return_inverse=True)
        batch = turn * passes + int(second[start]) + 1
        yield Record(
            channel_id=(channel[at] + 1).astype(np.uint32),
            phenomenon_ns=phenomenon_ns[at],
            received_ns=phenomenon_ns[at] + 50_000_000,
            value=value[at],
            reason=np.zeros(size, dtype=np.uint8),
            is_historical=np.full(size, is_history),
            batch_index=batch_index.astype(np.int32),
            batches=tuple(BatchIdentity(f"gw-{each:05d}", 7, batch) for each in gateway.tolist()),
        )


def _fleet(scores: list[str] | None) -> FleetSnapshot:
    site = {"site_id": "site", "district_id": "d", "domain": "gas", "name": "s", "latitude": 0.0, "longitude": 0.0}
    gateways = range(CHANNELS // CHANNELS_OF_GATEWAY)
    channels = range(CHANNELS)
    return FleetSnapshot.model_validate(
        {
            "revision": 1,
            "districts": [{"district_id": "d", "name": "d"}],
            "sites": [site],
            "gateways": [{"gateway_id": f"gw-{each:05d}", "district_id": "d", "name": "g"} for each in gateways],
            "nodes": [
                {
                    "node_id": f"n-{each:05d}",
                    "gateway_id": f"gw-{each // CHANNELS_OF_GATEWAY:05d}",
                    "bus_id": "b",
                    "site_id": "site",
                    "model": "m",
                }
                for each in channels
            ],
            "channels": [
                {"channel_id": each + 1, "node_id": f"n-{each:05d}", "quantity": "methane_lel", "scores": scores}
                for each in channels
            ],
            "conditions": [
                {
                    "condition_id": f"c-{each}",
                    "channel_id": each * (CHANNELS // CONDITIONS) + 1,
                    "set_point": 5.0 if each == 0 else 60.0,
                    "priority": 1,
                    "colour": "red",
                    "title": "t",
                }
                for each in range(CONDITIONS)
            ],
        }
    )


if __name__ == "__main__":
    for line in measure():
        print(line)
