"""What every peer does with a message: the same columns, the same score, the same line. Runs without citysense."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator

import pyarrow as pa

ALPHA = 0.02
WARM_UP = 30
CLIP = 6.0
RESOLUTION = 0.05
WRITTEN_FROM = 0.5

State = tuple[int, float, float]
"""Count, mean, variance."""


def readings(message: bytes) -> Iterator[tuple[int, int, float]]:
    """Channel, time in ns and value of each reading of an Arrow message."""
    batch = pa.ipc.open_stream(io.BytesIO(message)).read_next_batch()
    columns = (batch.column(name).to_pylist() for name in ("channel_id", "phenomenon_ns", "value"))
    return zip(*columns, strict=True)


def score(state: State | None, value: float) -> tuple[State, float | None]:
    """EWMA z as a score, as stream_processor/detectors/ewma_z.py, one reading at a time."""
    count, mean, variance = state or (0, 0.0, 0.0)
    deviation = value - mean
    sigma = math.sqrt(variance + RESOLUTION * RESOLUTION)
    scored = abs(deviation) / (abs(deviation) + 3.0 * sigma) if count >= WARM_UP else None
    if count >= WARM_UP:
        deviation = max(-CLIP * sigma, min(CLIP * sigma, deviation))
    weight = max(ALPHA, 1.0 / (count + 1))
    return (count + 1, mean + weight * deviation, (1 - weight) * (variance + weight * deviation * deviation)), scored


def is_written(scored: float | None) -> bool:
    """As contracts/influx_schema.py says it (`SCORE_WRITTEN_FROM`)."""
    return scored is not None and scored >= WRITTEN_FROM


def line(channel: int, time_ns: int, value: float, scored: float | None) -> str:
    """A point of line protocol, with the fields that ours has."""
    field = f",score_ewma_z={scored:.3f}" if is_written(scored) else ""
    tags = f"district=d{channel % 5},gateway=g{channel % 100},node=n{channel // 3},quantity=q{channel % 3}"
    return f"gas,{tags} value={value}{field} {time_ns}"


class Meter:
    """Counts readings and tells, when all came, how many there were, and how many CPU and wall seconds that took."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._count = 0
        self._cpu_s = 0.0
        self._wall_s = 0.0

    def add(self, count: int) -> bool:
        """Whether all came."""
        if self._count == 0:
            self._cpu_s, self._wall_s = time.process_time(), time.monotonic()
        self._count += count
        return self._count >= self._wanted

    def report(self) -> str:
        """`readings cpu_s wall_s`, on one line."""
        return f"RESULT {self._count} {time.process_time() - self._cpu_s:.3f} {time.monotonic() - self._wall_s:.3f}"
