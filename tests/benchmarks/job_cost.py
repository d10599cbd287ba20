"""The pure parts of score job and store job, by the set of detectors that scores all channels: no Kafka, no HTTP.

Readings a second and core: CPU time of one thread, of several rounds of a million readings the best, since the machine
is shared. As in the jobs, messages are taken 64 at a time. All channels have been read 200 times before a round counts,
so that no detector is in its warm-up.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from contracts.detector_set import DEFAULT_SCORES
from contracts.fleet import Domain, FleetSnapshot
from contracts.record_message import ScoredMessage, decode_scored, encode_scored
from contracts.score import STANDARD
from contracts.score_columns import join_scores
from stream_processor.distributed.job_settings import JobSettings
from stream_processor.distributed.partition_state import PartitionState
from stream_processor.fleet_index import FleetIndex, restrict_fleet
from stream_processor.line_protocol import Points, build_bodies, series_of_fleet
from tests.benchmarks.job_load import PARTITIONS, Readings, make_fleet

DOMAINS: Final = (None, Domain.BRIDGE, Domain.GAS, Domain.FOREST)
"""None: nothing but `ewma_z`."""
MESSAGE_READINGS: Final = (500, 4_000)
ROUND_READINGS: Final = 1_000_000
ROUNDS: Final = 3
FIGURES: Final[Mapping[str, tuple[str, ...]]] = {
    "score job": ("decode", "score", "encode"),
    "store job": ("decode scored", "lines"),
    "score and lines": ("score", "lines"),
    "all of it": ("decode", "score", "encode", "decode scored", "lines"),
}
"""What of the work is in which figure. *Score* is deduplication, quality control, detectors, groups, conditions; *score
and lines* is the design's figure, with a null sink."""


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield "  readings/s/core          a message" + "".join(f"{title:>18}" for title in FIGURES)
    for domain in DOMAINS:
        kinds = (STANDARD, *(() if domain is None else DEFAULT_SCORES[domain]))
        yield f"  {domain or 'set of its own'}: {', '.join(kind.value.removeprefix('score_') for kind in kinds)}"
        for size in MESSAGE_READINGS:
            spent_s = _Jobs(make_fleet(domain), size).best_round()
            rates = [ROUND_READINGS / sum(spent_s[part] for part in parts) for parts in FIGURES.values()]
            yield f"  {'':<25}{size:>9,}" + "".join(f"{rate:>18,.0f}" for rate in rates)


class _Jobs:
    """Both jobs on one partition."""

    def __init__(self, fleet: FleetSnapshot, size: int) -> None:
        part = restrict_fleet(fleet, 0, PARTITIONS)
        contexts = FleetIndex(part).contexts
        self._channel_ids = np.array(sorted(contexts), dtype=np.uint32)
        self._series: pa.Array = series_of_fleet(self._channel_ids.tolist(), contexts)
        self._state = PartitionState(0, part)
        self._readings = Readings(fleet, size)
        self._size = size

    def best_round(self) -> dict[str, float]:
        """CPU seconds of the parts, each at its best after a first round that does not count."""
        self._round()
        rounds = [self._round() for _ in range(ROUNDS)]
        return {name: min(spent_s[name] for spent_s in rounds) for name in rounds[0]}

    def _round(self) -> dict[str, float]:
        encoded = [self._readings.next(0) for _ in range(ROUND_READINGS // self._size)]
        at_once = JobSettings(group="bench").gather_messages
        spent_s: dict[str, float] = defaultdict(float)
        for begin in range(0, len(encoded), at_once):
            with _counted(spent_s, "decode"):
                messages = [self._state.parse(value) for value in encoded[begin : begin + at_once]]
            with _counted(spent_s, "score"):
                outcomes = self._state.take_all(list(enumerate(messages, self._state.next_offset)), time.time_ns())
            with _counted(spent_s, "encode"):
                written = [encode_scored(outcome.scored) for outcome in outcomes]
            with _counted(spent_s, "decode scored"):
                read = [decode_scored(each) for each in written]
            with _counted(spent_s, "lines"):
                list(build_bodies(self._series, self._points(read)))
        return spent_s

    def _points(self, messages: list[ScoredMessage]) -> Points:
        def joined(column: Callable[[ScoredMessage], NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate([column(message) for message in messages])

        return Points(
            np.searchsorted(self._channel_ids, joined(lambda each: each.record.channel_id)),
            joined(lambda each: each.event_ns),
            joined(lambda each: each.record.value),
            joined(lambda each: each.record.reason),
            joined(lambda each: each.score_ewma_z),
            join_scores([(message.other_scores, len(message.record)) for message in messages]),
        )


@contextlib.contextmanager
def _counted(spent_s: dict[str, float], what: str) -> Iterator[None]:
    """Adds the CPU seconds of a block."""
    start_s = time.process_time()
    yield
    spent_s[what] += time.process_time() - start_s


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
