"""The Faust job that its tutorial leads to: a Table for the state, one reading at a time, a Point each.

Arguments: servers, topic, partitions, how many readings.
"""

from __future__ import annotations

import os
import sys

import faust
from influxdb_client import Point
from readings import Meter, is_written, readings, score

SERVERS, TOPIC, PARTITIONS, WANTED = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

app = faust.App(
    f"naive-{os.getpid()}",
    broker=f"kafka://{SERVERS}",
    store="memory://",
    web_enabled=False,
    topic_partitions=PARTITIONS,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(TOPIC, value_serializer="raw", value_type=bytes)
states = app.Table("states", partitions=PARTITIONS)
meter = Meter(WANTED)


@app.agent(topic)
async def observe(stream: faust.Stream[bytes]) -> None:
    """Scores each reading."""
    async for message in stream:
        count = 0
        for channel, time_ns, value in readings(message):
            state, scored = score(states.get(channel), value)
            states[channel] = state
            point = Point("gas").tag("district", f"d{channel % 5}").tag("gateway", f"g{channel % 100}")
            point = point.tag("node", f"n{channel // 3}").tag("quantity", f"q{channel % 3}").field("value", value)
            if is_written(scored):
                point = point.field("score_ewma_z", scored)
            point.time(time_ns).to_line_protocol()
            count += 1
        if meter.add(count):
            print(meter.report(), flush=True)
            os._exit(0)


if __name__ == "__main__":
    faust.Worker(app, loglevel="error", redirect_stdouts=False).execute_from_commandline()
