"""Cost of the detectors: 100,000 channels in random order, nanoseconds a reading and bytes a channel; beside others.

One thread, its own CPU time, score and learn, of several rounds the best, since the machine is shared. A round is one
reading of every channel in random order, in batches. Channels are warm. Peers (`peers/detector_models.py`) run in an
environment of their own, one model a channel, one reading at a time, as their documentation shows, with fewer channels:
their figures do not depend on how many there are, but for the cache, which is to their advantage.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from stream_processor.detectors import DETECTORS, GROUP_DETECTORS
from stream_processor.detectors.asset_frame import AssetFrames
from stream_processor.detectors.contract import Batch, Detector
from stream_processor.detectors.group_contract import Frames, GroupDetector
from stream_processor.detectors.group_forest import RING_SPACING_NS, GroupForest
from stream_processor.detectors.isolation_fit import fit_forest

CHECKOUT: Final = Path(__file__).parents[2]
PEERS: Final = Path(__file__).parent / "peers/detector_models.py"
PEER_ENVIRONMENT: Final = Path.home() / ".cache/citysense/bench-detector-peers"
PEER_LOCK: Final = CHECKOUT / "requirements/bench-detectors.txt"
PEER_CHANNELS, PEER_WARM_UP, PEER_ROUNDS = 1_000, 40, 3
CHANNELS: Final = 100_000
BATCHES: Final = (5_000, 100_000)
WARM_UP_ROUNDS: Final = 60
ROUNDS: Final = 5
ASSET_CHANNELS: Final = 20
FOREST_ASSETS: Final = 100
STEP_NS: Final = 60 * 1_000_000_000
START_NS: Final = 1_761_955_200_000_000_000


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    yield f"  {'detector':<34}{'ns a reading':>14}{'readings/s/core':>18}{'bytes a channel':>18}   readings a batch"
    fastest: dict[str, float] = {}
    for name, build in DETECTORS.items():
        detector = build()
        detector.grow(CHANNELS)
        for size, spent_ns in _cost_by_batch(detector).items():
            size_bytes = len(detector.snapshot()) / CHANNELS
            fastest[name] = min(spent_ns, fastest.get(name, np.inf))
            yield f"  {name:<34}{spent_ns:>14.1f}{1e9 / spent_ns:>18,.0f}{size_bytes:>18.0f}   {size:,}"
    yield from _group_lines()
    yield from _peer_lines(fastest)


def _cost_by_batch(detector: Detector) -> dict[int, float]:
    """Nanoseconds a reading."""
    chance = np.random.default_rng(1)
    level = chance.uniform(5.0, 15.0, CHANNELS)
    resolutions = np.full(CHANNELS, 0.1)
    best = dict.fromkeys(BATCHES, np.inf)
    for number in range(WARM_UP_ROUNDS + ROUNDS * len(BATCHES)):
        rows = chance.permutation(CHANNELS)
        values = np.round(level[rows] + chance.normal(0.0, 1.0, CHANNELS), 1)
        times_ns = np.full(CHANNELS, START_NS + number * STEP_NS)
        size = BATCHES[number % len(BATCHES)]
        batches = [
            Batch(rows[at : at + size], times_ns[at : at + size], values[at : at + size], resolutions[at : at + size])
            for at in range(0, CHANNELS, size)
        ]
        before_s = time.process_time()
        for batch in batches:
            detector.score_and_learn(batch)
        spent_ns = (time.process_time() - before_s) / CHANNELS * 1e9
        if number >= WARM_UP_ROUNDS:
            best[size] = min(best[size], spent_ns)
    return best


def _group_lines() -> Iterator[str]:
    """Each frame holds one reading of each channel: the most frames that readings can make."""
    assets = CHANNELS // ASSET_CHANNELS
    gathering_ns = _cost_of_frames(assets)
    title = f"frames of assets of {ASSET_CHANNELS}"
    yield f"  {title:<34}{gathering_ns:>14.1f}{1e9 / gathering_ns:>18,.0f}{28:>18}   {CHANNELS:,}"
    for name, build in GROUP_DETECTORS.items():
        detector = build(ASSET_CHANNELS)
        count = FOREST_ASSETS if isinstance(detector, GroupForest) else assets
        detector.grow(count)
        spent_ns = _cost_of_group(detector, count)
        size = len(detector.snapshot()) / count / ASSET_CHANNELS
        title = f"{name}, {count:,} assets of {ASSET_CHANNELS}"
        yield f"  {title:<34}{spent_ns:>14.1f}{1e9 / spent_ns:>18,.0f}{size:>18.0f}   one frame of each"


def _cost_of_frames(assets: int) -> float:
    frames = AssetFrames(ASSET_CHANNELS)
    frames.grow(CHANNELS, assets)
    for asset in range(assets):
        frames.set_asset(asset, range(asset * ASSET_CHANNELS, (asset + 1) * ASSET_CHANNELS), STEP_NS)
    chance = np.random.default_rng(2)
    best_s = np.inf
    for number in range(ROUNDS):
        rows = chance.permutation(CHANNELS)
        times_ns = np.full(CHANNELS, START_NS + number * STEP_NS)
        batch = Batch(rows, times_ns, chance.normal(10.0, 1.0, CHANNELS), np.full(CHANNELS, 0.1))
        before_s = time.process_time()
        frames.take(batch)
        best_s = min(best_s, time.process_time() - before_s) if number else best_s
    return best_s / CHANNELS * 1e9


def _cost_of_group(detector: GroupDetector, assets: int) -> float:
    """Nanoseconds a reading, without refits: those are another process's."""
    chance = np.random.default_rng(3)
    shape = assets, ASSET_CHANNELS
    best_s = np.inf
    for number in range(detector.warm_up_frames + ROUNDS + 1):
        times_ns = np.full(assets, START_NS + number * RING_SPACING_NS)
        frames = Frames(np.arange(assets), times_ns, chance.normal(10.0, 1.0, shape), np.full(shape, 0.1))
        before_s = time.process_time()
        detector.score_and_learn(frames)
        if number > detector.warm_up_frames:
            best_s = min(best_s, time.process_time() - before_s)
        if isinstance(detector, GroupForest):
            for order in detector.due_refits():
                detector.take_fitted(fit_forest(order))
    return best_s / assets / ASSET_CHANNELS * 1e9


def _peer_lines(fastest: dict[str, float]) -> Iterator[str]:
    ours = fastest["ewma_z"]
    yield f"  beside others, one model a channel, {PEER_CHANNELS:,} channels or fewer:"
    command = [_peer_python(), "-W", "ignore", PEERS, *map(str, (PEER_CHANNELS, PEER_WARM_UP, PEER_ROUNDS))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1_000:]
    for line in done.stdout.splitlines():
        if line.startswith("RESULT\t"):
            _, title, spent_ns, size = line.split("\t")
            rate = 1e9 / float(spent_ns)
            ratio = float(spent_ns) / ours
            yield f"  {title:<34}{float(spent_ns):>14,.0f}{rate:>18,.0f}{int(size):>18,}   {ratio:,.0f} x our EWMA z"


def _peer_python() -> Path:
    """An environment of their own: they need other versions of what we need."""
    python = PEER_ENVIRONMENT / "bin/python"
    stamp = PEER_ENVIRONMENT / "lock"
    if not stamp.exists() or stamp.read_text() != PEER_LOCK.read_text():
        venv.create(PEER_ENVIRONMENT, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        subprocess.run([*pip, "--requirement", PEER_LOCK], check=True)
        stamp.write_text(PEER_LOCK.read_text())
    return python


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
