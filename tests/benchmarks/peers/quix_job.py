"""Quix Streams 3: each message becomes readings, each reading a score and a line. State in a dict: no changelog, in
their favour.

Arguments: servers, topic, partitions, how many readings.
"""

from __future__ import annotations

import os
import sys

from quixstreams import Application
from readings import Meter, State, line, readings, score

SERVERS, TOPIC, WANTED = sys.argv[1], sys.argv[2], int(sys.argv[4])

states: dict[int, State] = {}
meter = Meter(WANTED)


def scored(reading: tuple[int, int, float]) -> str:
    """The line of one reading."""
    channel, time_ns, value = reading
    states[channel], scored = score(states.get(channel), value)
    return line(channel, time_ns, value, scored)


def take(_line: str) -> None:
    """The null sink."""
    if meter.add(1):
        print(meter.report(), flush=True)
        os._exit(0)


def main() -> None:
    """Runs until all readings came."""
    app = Application(
        broker_address=SERVERS, consumer_group=f"quix-{os.getpid()}", auto_offset_reset="earliest", loglevel="ERROR"
    )
    frame = app.dataframe(app.topic(TOPIC, value_deserializer="bytes"))
    frame.apply(lambda message: list(readings(message)), expand=True).apply(scored).update(take)
    app.run()


if __name__ == "__main__":
    main()
