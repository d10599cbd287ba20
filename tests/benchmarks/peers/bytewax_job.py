"""Bytewax 0.21: each message becomes readings, each reading a score and a line. State in a dict: no recovery, in their
favour.

Arguments: servers, topic, partitions, how many readings.
"""

from __future__ import annotations

import os
import sys

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from readings import Meter, State, line, readings, score

SERVERS, TOPIC, WANTED = sys.argv[1], sys.argv[2], int(sys.argv[4])

states: dict[int, State] = {}
meter = Meter(WANTED)


def scored(reading: tuple[int, int, float]) -> str:
    """The line of one reading."""
    channel, time_ns, value = reading
    states[channel], scored = score(states.get(channel), value)
    return line(channel, time_ns, value, scored)


class NullPartition(StatelessSinkPartition[str]):
    """Counts."""

    def write_batch(self, items: list[str]) -> None:
        """Takes lines."""
        if meter.add(len(items)):
            print(meter.report(), flush=True)
            os._exit(0)


class NullSink(DynamicSink[str]):
    """Takes everything, keeps nothing."""

    def build(self, _step_id: str, _worker_index: int, _worker_count: int) -> NullPartition:
        """One for the one worker."""
        return NullPartition()


def main() -> None:
    """Runs until all readings came."""
    flow = Dataflow("bench")
    messages = op.input("observations", flow, KafkaSource([SERVERS], [TOPIC], batch_size=100))
    each = op.flat_map("readings", messages, lambda message: list(readings(message.value)))
    op.output("null", op.map("score", each, scored), NullSink())
    run_main(flow)


if __name__ == "__main__":
    main()
