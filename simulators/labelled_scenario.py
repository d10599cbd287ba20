"""Records of things that go wrong, with labels: what detectors are measured against. Pure, seeded; needs numpy.

A record has several assets of the same kind side by side (bridges, tank farms, halls), each with noise, a day's cycle,
the resolution of its instruments and the nuisances of its place, and in its second half one event each:

| scenario         | channels of an asset                  | every | event                                          |
|------------------|---------------------------------------|-------|------------------------------------------------|
| gas leak         | 8 methane detectors, %LEL             | 10 s  | 4 to 8 %LEL at one, less beside it, 45 min     |
| overloaded truck | 8 strain gauges, µε                   | 1 s   | twice the heaviest legal lorry, gauge by gauge |
| settling pier    | 12 strain gauges, µε                  | 600 s | 20 µε at three gauges in 10 days, and it stays |
| tank overfill    | 8 tank levels, m                      | 60 s  | one is filled up to 0.9 m above its usual top  |
| smouldering fire | 6 detectors: smoke in %/m, CO in ppm  | 30 s  | 0.3 %/m and 12 ppm at one in 2 h, less beside  |
| stuck sensor     | 8 temperatures of rooms, °C           | 60 s  | one shows its last value for 8 h               |
| drifting sensor  | 8 temperatures of a forest sector, °C | 600 s | one drifts 0.2 °C a day for 15 days            |

Sizes of signals and noise: as in `field_signal` and the demonstration city. An event's label begins when its cause
does, before any instrument can show it. The leak stays below the first alarm level (10 %LEL) on purpose: what crosses a
set-point needs no score. Nuisances (a waft while refuelling, a kitchen) have no label: an alarm of them is a false one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_DAY_S: Final = 86_400.0
_START_NS: Final = 1_761_955_200_000_000_000
_SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Label:
    """One event."""

    asset: int
    places: tuple[int, ...]
    """The channels that show it."""
    from_step: int
    until_step: int
    """The first step after it."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRecord:
    """Readings of several assets, and what happened to them."""

    values: Floats
    """By step, asset and place, in the channel's unit."""
    names: tuple[str, ...]
    """By place."""
    units: tuple[str, ...]
    resolutions: Floats
    interval_s: float
    frame_s: float
    """What a short mean is taken over: short against what is looked for, long against noise and traffic."""
    labels: tuple[Label, ...]

    @property
    def times_ns(self) -> NDArray[np.int64]:
        """Of each step."""
        return _START_NS + np.arange(len(self.values)) * round(self.interval_s * _SECOND_NS)


def _gas_leak(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=8, places=8, steps=25_920, interval_s=10.0)
    values = scene.level(0.5, 1.1) + 0.3 * scene.wander(600.0) + 0.06 * scene.noise()
    for asset in range(scene.assets):
        for at in scene.moments(12):  # a car is refuelled
            values[:, asset, scene.place()] += scene.bump(at, 30.0, 30.0, 60.0, peak=scene.between(0.5, 2.0))
    labels = []
    for asset in range(scene.assets):
        at, source = scene.event_step(3_600.0), scene.place()
        leak = scene.bump(at, 600.0, 1_500.0, 600.0, peak=scene.between(4.0, 8.0))
        nearness = np.exp(-np.abs(np.arange(scene.places) - source) / 0.8)
        values[:, asset] += leak[:, None] * nearness
        labels.append(scene.label(asset, np.flatnonzero(nearness > 0.2), at, 2_700.0))
    return scene.record(np.maximum(values, 0.0), "methane", "%LEL", 0.1, 60.0, labels)


def _overloaded_truck(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=8, places=8, steps=21_600, interval_s=1.0)
    values = scene.level(-30.0, 80.0) + 30.0 * scene.day() + 0.3 * scene.noise()
    influence = scene.random.uniform(18.0, 48.0, (scene.assets, scene.places))
    labels = []
    for asset in range(scene.assets):
        at = scene.event_step(120.0)
        legal = _lorries(scene, clear_of=at)
        weights = scene.random.uniform(0.3, 1.0, len(legal))
        begins, heights = np.append(legal, at), np.append(weights, 2.0)
        for place in range(scene.places):
            passed = scene.pulses(begins + 2.0 * place, heights * influence[asset, place], width_steps=0.8)
            values[:, asset, place] += passed
        labels.append(scene.label(asset, np.arange(scene.places), at, 20.0))
    return scene.record(values, "strain", "µε", 0.1, 5.0, labels)


def _lorries(scene: _Scene, clear_of: int) -> Floats:
    """Steps at which a legal lorry comes, four a minute, at least 4 s apart and from the one that is not."""
    slots = np.sort(scene.random.choice(scene.steps // 5, scene.steps // 15, replace=False))
    begins: Floats = slots * 5.0 + scene.random.uniform(0.0, 1.0, len(slots))
    return begins[np.abs(begins - clear_of) > 4.0]


def _settling_pier(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=6, places=12, steps=8_640, interval_s=600.0)
    values = scene.level(-30.0, 80.0) + scene.thermal(22.0, 34.0) + 1.5 * scene.noise()
    labels = []
    for asset in range(scene.assets):
        at, pier = scene.event_step(20 * _DAY_S), int(scene.random.integers(1, scene.places - 1))
        ramp = np.clip((np.arange(scene.steps) - at) / scene.to_steps(10 * _DAY_S), 0.0, 1.0)
        for place, share in ((pier - 1, -0.5), (pier, 1.0), (pier + 1, -0.5)):
            values[:, asset, place] += 20.0 * share * ramp
        labels.append(scene.label(asset, np.arange(pier - 1, pier + 2), at, 20 * _DAY_S))
    return scene.record(values, "strain", "µε", 0.1, 6 * 3_600.0, labels)


def _tank_overfill(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=8, places=8, steps=20_160, interval_s=60.0)
    values = np.empty((scene.steps, scene.assets, scene.places))
    labels = []
    for asset in range(scene.assets):
        spilt = scene.place()
        for place in range(scene.places):
            top, event = scene.between(8.5, 11.5), scene.event_step(_DAY_S) if place == spilt else None
            level, span = _tank_level(scene, top, event)
            values[:, asset, place] = level
            if span is not None:
                labels.append(Label(asset, (spilt,), *span))
    return scene.record(values + 0.0003 * scene.noise(), "level", "m", 0.001, 60.0, labels)


def _tank_level(scene: _Scene, top: float, event: int | None) -> tuple[Floats, tuple[int, int] | None]:
    """Filled to its top, rests, emptied, rests; the first filling after `event` goes on. And when it is too high."""
    corners, levels, at, bottom, span = [0.0], [2.5], 0.0, 2.5, None
    while at < scene.steps:
        filling, goal = scene.between(120.0, 240.0), top
        if event is not None and span is None and at > event:
            goal = top + 0.9
            usual = filling * (top - bottom) / (goal - bottom)
            span = (round(at + usual), round(at + filling) + 120)
        for minutes, level in ((filling, goal), (scene.between(30.0, 200.0), goal), (180.0, bottom), (60.0, bottom)):
            at += minutes
            corners.append(at)
            levels.append(level)
    return np.interp(np.arange(scene.steps), corners, levels), span


def _smouldering_fire(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=8, places=12, steps=14_400, interval_s=30.0)
    is_smoke = np.arange(scene.places) % 2 == 0
    quiet = np.where(is_smoke, 0.05, 2.0) + np.where(is_smoke, 0.01, 0.4) * scene.wander(1_800.0)
    values = quiet + np.where(is_smoke, 0.004, 0.2) * scene.noise()
    reached = np.where(is_smoke, 0.3, 12.0)
    labels = []
    for asset in range(scene.assets):
        for at in scene.moments(10):  # a kitchen
            detector = int(scene.random.integers(scene.places // 2))
            cooking = scene.bump(at, 600.0, 900.0, 900.0, peak=scene.between(0.05, 0.15))
            places = slice(2 * detector, 2 * detector + 2)
            values[:, asset, places] += cooking[:, None] * reached[places]
        at, source = scene.event_step(3 * 3600.0), int(scene.random.integers(scene.places // 2))
        since_s = (np.arange(scene.steps) - at) * scene.interval_s
        grown = np.where((since_s > 0.0) & (since_s < 7_200.0), np.expm1(3.0 * since_s / 7_200.0) / np.expm1(3.0), 0.0)
        nearness = np.exp(-np.abs(np.arange(scene.places) // 2 - source) / 0.7)
        values[:, asset] += grown[:, None] * nearness * reached
        labels.append(scene.label(asset, np.flatnonzero(nearness > 0.2), at, 7_200.0))
    record = scene.record(np.maximum(values, 0.0), "smoke", "%/m", 0.01, 60.0, labels)
    names = tuple(f"{'smoke' if smoke else 'CO'}-{place // 2}" for place, smoke in enumerate(is_smoke.tolist()))
    units = tuple("%/m" if smoke else "ppm" for smoke in is_smoke.tolist())
    resolutions = np.where(is_smoke, 0.01, 0.5)
    shown = np.rint(np.maximum(values, 0.0) / resolutions) * resolutions
    return LabelledRecord(shown, names, units, resolutions, record.interval_s, record.frame_s, record.labels)


def _stuck_sensor(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=8, places=8, steps=20_160, interval_s=60.0)
    values = scene.level(19.0, 22.0) + scene.thermal(1.0, 2.5) + 0.3 * scene.wander(3_600.0) + 0.05 * scene.noise()
    labels = []
    for asset in range(scene.assets):
        at, place, hours = scene.event_step(_DAY_S), scene.place(), 8 * 3600.0
        values[at : at + scene.to_steps(hours), asset, place] = values[at, asset, place]
        labels.append(scene.label(asset, np.array([place]), at, hours))
    return scene.record(values, "temperature", "°C", 0.1, 300.0, labels)


def _drifting_sensor(seed: int) -> LabelledRecord:
    scene = _Scene(seed, assets=6, places=8, steps=8_640, interval_s=600.0)
    values = scene.level(12.0, 15.0) + scene.thermal(4.0, 6.0) + 0.5 * scene.wander(7_200.0) + 0.1 * scene.noise()
    labels = []
    for asset in range(scene.assets):
        at, place = scene.event_step(15 * _DAY_S), scene.place()
        elapsed_days = np.clip((np.arange(scene.steps) - at) * scene.interval_s / _DAY_S, 0.0, 15.0)
        values[:, asset, place] += 0.2 * elapsed_days
        labels.append(scene.label(asset, np.array([place]), at, 15 * _DAY_S))
    return scene.record(values, "temperature", "°C", 0.1, 6 * 3_600.0, labels)


SCENARIOS: Final[Mapping[str, Callable[[int], LabelledRecord]]] = MappingProxyType(
    {
        "gas leak": _gas_leak,
        "overloaded truck": _overloaded_truck,
        "settling pier": _settling_pier,
        "tank overfill": _tank_overfill,
        "smouldering fire": _smouldering_fire,
        "stuck sensor": _stuck_sensor,
        "drifting sensor": _drifting_sensor,
    }
)
"""By name: the record of a seed."""


class _Scene:
    """What scenarios are made from: signals by step, asset and place, and moments."""

    def __init__(self, seed: int, assets: int, places: int, steps: int, interval_s: float) -> None:
        self.random = np.random.default_rng(seed)
        self.assets, self.places, self.steps, self.interval_s = assets, places, steps, interval_s

    def to_steps(self, seconds: float) -> int:
        return round(seconds / self.interval_s)

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def place(self) -> int:
        return int(self.random.integers(self.places))

    def moments(self, count: int) -> list[int]:
        """Steps at which something happens."""
        return sorted(self.random.integers(0, self.steps, count).tolist())

    def event_step(self, clear_of_end_s: float) -> int:
        """A step of the second half, that early."""
        return int(self.random.integers(self.steps // 2, self.steps - self.to_steps(clear_of_end_s) - 1))

    def label(self, asset: int, places: NDArray[np.intp], at: int, seconds: float) -> Label:
        return Label(asset, tuple(places.tolist()), at, min(at + self.to_steps(seconds), self.steps))

    def level(self, low: float, high: float) -> Floats:
        """Where each channel stands."""
        return self.random.uniform(low, high, (1, self.assets, self.places))

    def noise(self) -> Floats:
        return self.random.standard_normal((self.steps, self.assets, self.places))

    def day(self) -> Floats:
        """1 at 14:00 solar time, -1 at 02:00."""
        turn = np.arange(self.steps) * self.interval_s / _DAY_S - 14.0 / 24.0
        swing: Floats = np.cos(2.0 * np.pi * turn)
        return swing[:, None, None]

    def wander(self, period_s: float, *, is_common: bool = False) -> Floats:
        """A smooth walk within about ±2, of each channel or of each asset: new knots each period, a cubic between."""
        place = np.arange(self.steps) * self.interval_s / period_s
        knot = place.astype(np.intp)
        shape = (int(knot[-1]) + 2, self.assets, 1 if is_common else self.places)
        knots = self.random.standard_normal(shape)
        fraction = (place - knot)[:, None, None]
        walk: Floats = knots[knot] + (knots[knot + 1] - knots[knot]) * fraction * fraction * (3.0 - 2.0 * fraction)
        return walk

    def thermal(self, low: float, high: float) -> Floats:
        """The day and the weather of the asset, which each channel follows by its own amount."""
        amplitude = self.random.uniform(low, high, (1, self.assets, self.places))
        return amplitude * (self.day() + 0.3 * self.wander(6 * 3_600.0, is_common=True))

    def bump(self, at: int, rise_s: float, hold_s: float, fall_s: float, *, peak: float) -> Floats:
        """Rises from a step on along half a cosine, holds, and falls so."""
        since_s = (np.arange(self.steps) - at) * self.interval_s
        up = np.clip(since_s / rise_s, 0.0, 1.0)
        down = np.clip((since_s - rise_s - hold_s) / fall_s, 0.0, 1.0)
        shape: Floats = 0.5 * (np.cos(np.pi * down) - np.cos(np.pi * up))
        return peak * shape

    def pulses(self, at: Floats, heights: Floats, width_steps: float) -> Floats:
        """Bells around steps; nothing further than 8 widths from each."""
        reach = np.arange(-int(8 * width_steps), int(8 * width_steps) + 1)
        steps = np.floor(at).astype(np.intp)[:, None] + reach
        shapes = heights[:, None] * np.exp(-0.5 * ((steps - at[:, None]) / width_steps) ** 2)
        total = np.zeros(self.steps)
        is_within = (steps >= 0) & (steps < self.steps)
        np.add.at(total, steps[is_within], shapes[is_within])
        return total

    def record(
        self, values: Floats, name: str, unit: str, resolution: float, frame_s: float, labels: list[Label]
    ) -> LabelledRecord:
        """The values as instruments of one kind show them."""
        return LabelledRecord(
            np.rint(values / resolution) * resolution,
            tuple(f"{name}-{place}" for place in range(self.places)),
            (unit,) * self.places,
            np.full(self.places, resolution),
            self.interval_s,
            frame_s,
            tuple(labels),
        )
