"""CPU time of the agent for each sample of a waveform: read, timed, reduced to features, spooled, sent.

One logger with two rings of f32 at 100 Hz, ten minutes of it, polled five times a second, without a line: the logger's
registers are made beforehand. Steps are added one by one; each row is the whole up to it. The order alternates over
rounds, because the machine is shared; the least of the rounds counts.
"""

from __future__ import annotations

import math
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edge_agent.channel_table import ChannelTable
from edge_agent.lines.build_poller import build_line, build_watch
from edge_agent.plan_agent import plan_agent
from edge_agent.settings.configuration import parse_configuration
from edge_agent.settings.load_profiles import load_profiles
from edge_agent.spool.reading_buffer import ReadingBuffer
from edge_agent.spool.store_readings import Spool
from edge_agent.uplink.ddata_codec import encode_ddata

SECONDS: Final = 600
ROUNDS: Final = 3
POLLS_PER_SECOND: Final = 5
RATE_HZ: Final = 100
WALL_NS: Final = 1_761_955_200_000_000_000
RING: Final = 1_000
CONFIGURATION: Final = """
[gateway]
gateway_id = "gw"
district_id = "d"
[mqtt]
[spool]
path = "spool.sqlite"
[[bus]]
bus_id = "b"
kind = "modbus_tcp"
host = "127.0.0.1"
[[bus.node]]
node_id = "span"
profile = "waveform_ring"
device_id = 1
poll_interval_s = 0.2
waveform = {{ samples = {samples}, features = [{features}], cycle_bin_width = {{ {bins} }} }}
"""
ALL: Final = '"mean", "rms", "peak", "peak_to_peak", "minimum", "maximum"'
BINS: Final = "strain = 2.0, acceleration = 0.05"
STEPS: Final = (
    ("read and timed, one feature", {"samples": "false", "features": '"mean"', "bins": ""}, False),
    ("+ all six features", {"samples": "false", "features": ALL, "bins": ""}, False),
    ("+ rainflow of both, 12 bins", {"samples": "false", "features": ALL, "bins": BINS}, False),
    ("+ samples as arrays, spool on disk (FULL), DDATA", {"samples": "true", "features": ALL, "bins": BINS}, True),
)


def measure() -> Iterator[str]:
    """The report, line by line."""
    profiles = load_profiles()
    registers = _registers()
    least = [math.inf] * len(STEPS)
    for number in range(ROUNDS):
        order = range(len(STEPS)) if number % 2 == 0 else reversed(range(len(STEPS)))
        for at in order:
            _, settings, is_whole = STEPS[at]
            least[at] = min(least[at], _run(profiles, CONFIGURATION.format(**settings), registers, is_whole=is_whole))
    samples = SECONDS * RATE_HZ * 2
    yield f"{'':52}  us/sample   CPU of 10 channels at 100 Hz"
    for (name, *_), cpu_s in zip(STEPS, least, strict=True):
        yield f"{name:52}  {1e6 * cpu_s / samples:9.2f}   {100 * 1_000 * cpu_s / samples:8.2f} %"


def _registers() -> list[int]:
    """Two rings, of a bridge under traffic: a slow swing, two modes, a little noise."""

    def value(number: int, scale: float) -> float:
        t = number / RATE_HZ
        noise = (number * 2_654_435_761 % 1_000) / 1_000 - 0.5
        return scale * (math.sin(0.6 * t) + 0.4 * math.sin(15.1 * t) + 0.1 * math.sin(49.6 * t) + 0.02 * noise)

    words: list[int] = [0] * 5_000
    for base, scale in ((1_000, 0.3), (3_000, 20.0)):
        for number in range(RING):
            words[base + 2 * number : base + 2 * number + 2] = struct.unpack(
                ">2H", struct.pack(">f", value(number, scale))
            )
    return words


def _run(profiles: dict, text: str, registers: list[int], *, is_whole: bool) -> float:
    plan = plan_agent(parse_configuration(text, "bench", profiles), profiles, Path("/")).lines[0]
    channels = ChannelTable()
    (device,) = build_line(plan, channels).devices
    buffer = ReadingBuffer(1, 1 << 30)
    watch = build_watch(plan.devices[0], device, lambda blocks: buffer.put_waveforms("b", blocks))
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool.sqlite", 1 << 30)
        begin_s = time.process_time()
        for poll in range(SECONDS * POLLS_PER_SECOND):
            taken = (poll + 1) * RATE_HZ // POLLS_PER_SECOND
            readings = watch.readings(_poll(device, registers, taken, poll), WALL_NS + poll * 200_000_000, poll * 0.2)
            if readings:
                buffer.put("b", readings)
            if poll % POLLS_PER_SECOND == 0:
                _commit(buffer, spool, channels, is_whole=is_whole)
        cpu_s = time.process_time() - begin_s
        spool.close()
    return cpu_s


def _poll(device: object, registers: list[int], taken: int, poll: int) -> list:
    steps = device.poll(poll * 0.2)
    try:
        request = next(steps)
        while True:
            if request.address == 0:
                request = steps.send((taken >> 16, taken & 0xFFFF))
            else:
                request = steps.send(registers[request.address : request.address + request.count])
    except StopIteration as stop:
        return stop.value


def _commit(buffer: ReadingBuffer, spool: Spool, channels: ChannelTable, *, is_whole: bool) -> None:
    batches = buffer.seal()
    if is_whole and batches:
        spool.commit(batches, channels)
        for batch in batches:
            encode_ddata(
                batch.readings,
                now_ms=1,
                seq=0,
                epoch=1,
                batch=batch.batch,
                is_historical=False,
                waveforms=batch.waveforms,
            )
    buffer.committed(batches)
