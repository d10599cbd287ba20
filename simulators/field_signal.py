"""What the physical world does at a sensor: pure functions of the seed, the channel and the time.

A value is in the quantity's unit (contracts.quantity) and depends on nothing else, so that a test or a ledger can
compute again what was true when. Only `counter` has a memory, in the device: it counts reads, to prove which of them
arrived.
"""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field

from contracts.configuration import Settings
from simulators.noise import make_key, uniform, wander, white

_SECOND_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400
_SOLAR_OFFSET_S: Final = 8 * 3600
"""The demonstration city lies near 120° E."""

PositiveSeconds = Annotated[float, Field(gt=0.0)]


class Constant(Settings):
    """Always the same: a fire detector without fire."""

    kind: Literal["constant"]
    value: float

    def value_at(self, seed: int, key: int, time_ns: int) -> float:  # noqa: ARG002  # one signature for all
        """The value."""
        return self.value


class Drift(Settings):
    """A mean with slow drift and noise: gas background, product temperature."""

    kind: Literal["drift"]
    mean: float
    drift: float = Field(ge=0.0)
    """Largest distance of the drift from the mean."""
    drift_period_s: PositiveSeconds = 600.0
    noise: float = Field(default=0.0, ge=0.0)
    """Standard deviation."""
    minimum: float | None = None
    """Where the physical quantity ends: 0 for a concentration."""

    def value_at(self, seed: int, key: int, time_ns: int) -> float:  # noqa: ARG002
        """Mean, drift and noise at a time."""
        drift = self.drift * wander(key, time_ns, round(self.drift_period_s * _SECOND_NS))
        value = self.mean + drift + self.noise * white(key, time_ns)
        return value if self.minimum is None else max(value, self.minimum)


class AmbientTemperature(Settings):
    """Air at a place: a day's sine, weather, noise. Celsius."""

    kind: Literal["ambient_temperature"]
    place: str = Field(min_length=1)
    """Sensors at the same place feel the same weather."""
    mean_celsius: float = 14.0
    day_amplitude_celsius: float = Field(default=5.0, ge=0.0)
    noise_celsius: float = Field(default=0.03, ge=0.0)

    def value_at(self, seed: int, key: int, time_ns: int) -> float:
        """Temperature at a time."""
        swing = _weather(seed, self.place, time_ns)
        return self.mean_celsius + self.day_amplitude_celsius * swing + self.noise_celsius * white(key, time_ns)


class BridgeStrain(Settings):
    """Strain of a bridge member in µε: dead load, temperature, lorries.

    Each lorry that crosses the bridge passes each gauge after the gauge's own delay, as a bell-shaped pulse.
    """

    kind: Literal["bridge_strain"]
    place: str = Field(min_length=1)
    """The bridge: its gauges share weather and traffic."""
    mean_strain_ue: float
    thermal_strain_ue: float = 30.0
    """What the day's temperature swing does."""
    lorry_strain_ue: float = Field(default=25.0, ge=0.0)
    """Peak of a heavy lorry."""
    lorries_per_minute: float = Field(default=4.0, ge=0.0, le=30.0)
    delay_s: float = Field(default=0.0, ge=0.0, le=60.0)
    """From the beginning of the bridge to the gauge."""
    noise_strain_ue: float = Field(default=0.3, ge=0.0)

    def value_at(self, seed: int, key: int, time_ns: int) -> float:
        """Strain at a time."""
        thermal = self.thermal_strain_ue * _weather(seed, self.place, time_ns)
        traffic = self.lorry_strain_ue * self._traffic(seed, time_ns)
        return self.mean_strain_ue + thermal + traffic + self.noise_strain_ue * white(key, time_ns)

    def _traffic(self, seed: int, time_ns: int) -> float:
        key = make_key(seed, self.place, "traffic")
        passed_ns = time_ns - round(self.delay_s * _SECOND_NS)
        slot = passed_ns // _LORRY_SLOT_NS
        return sum(self._lorry(key, index, passed_ns) for index in (slot - 1, slot, slot + 1))

    def _lorry(self, key: int, slot: int, passed_ns: int) -> float:
        lorry = find_lorry(key, slot, self.lorries_per_minute)
        if lorry is None:
            return 0.0
        distance = (passed_ns - lorry.passes_ns) / _LORRY_WIDTH_NS
        return lorry.weight_ratio * math.exp(-0.5 * distance * distance)


class Lorry(NamedTuple):
    """A lorry on a bridge."""

    passes_ns: int
    weight_ratio: float
    """Of the heaviest."""


def find_lorry(key: int, slot: int, lorries_per_minute: float) -> Lorry | None:
    """The lorry of a slot of time, if there is one. `key` is the bridge's."""
    if uniform(key, 3 * slot) * 60.0 >= lorries_per_minute * _LORRY_SLOT_NS / _SECOND_NS:
        return None
    passes_ns = slot * _LORRY_SLOT_NS + round(uniform(key, 3 * slot + 1) * _LORRY_SLOT_NS)
    return Lorry(passes_ns, 0.3 + 0.7 * uniform(key, 3 * slot + 2))


_LORRY_SLOT_NS: Final = 2 * _SECOND_NS
"""At most one lorry in each slot."""
_LORRY_WIDTH_NS: Final = 400_000_000
"""Standard deviation of a pulse: 50 km/h over an influence line of some 20 m."""
_SWING_SLOTS: Final = 10
"""After so many slots a swing is gone."""
_NOISE_NS: Final = 1_000_000
"""Noise of a sample: another one each millisecond."""


class BridgeAcceleration(Settings):
    """Vertical acceleration of a bridge deck in m/s²: each lorry sets the deck's first two modes swinging.

    A damped oscillation from when it passes the sensor: a · exp(-ζ ω t) · sin(ω t), with the second mode a third of the
    first. The traffic is that of `bridge_strain` at the same place.
    """

    kind: Literal["bridge_acceleration"]
    place: str = Field(min_length=1)
    """The bridge: its sensors share traffic."""
    lorry_acceleration: float = Field(default=0.25, ge=0.0)
    """Amplitude of the first mode behind a heavy lorry."""
    first_mode_hz: float = Field(default=2.4, gt=0.0, le=50.0)
    second_mode_hz: float = Field(default=7.9, gt=0.0, le=50.0)
    damping_ratio: float = Field(default=0.02, gt=0.0, lt=1.0)
    lorries_per_minute: float = Field(default=4.0, ge=0.0, le=30.0)
    noise: float = Field(default=0.004, ge=0.0)
    """Largest noise of a sample."""

    def value_at(self, seed: int, key: int, time_ns: int) -> float:
        """Acceleration at a time."""
        traffic = make_key(seed, self.place, "traffic")
        slot = time_ns // _LORRY_SLOT_NS
        swing = sum(self._swing(traffic, index, time_ns) for index in range(slot - _SWING_SLOTS, slot + 1))
        return self.lorry_acceleration * swing + self.noise * (2.0 * uniform(key, time_ns // _NOISE_NS) - 1.0)

    def _swing(self, key: int, slot: int, time_ns: int) -> float:
        lorry = find_lorry(key, slot, self.lorries_per_minute)
        if lorry is None or lorry.passes_ns > time_ns:
            return 0.0
        since_s = (time_ns - lorry.passes_ns) / _SECOND_NS
        first, second = 2.0 * math.pi * self.first_mode_hz, 2.0 * math.pi * self.second_mode_hz
        return lorry.weight_ratio * (
            math.exp(-self.damping_ratio * first * since_s) * math.sin(first * since_s)
            + math.exp(-self.damping_ratio * second * since_s) * math.sin(second * since_s) / 3.0
        )


class TankLevel(Settings):
    """A tank that is filled and emptied slowly, in metres."""

    kind: Literal["tank_level"]
    low_m: float = Field(ge=0.0)
    high_m: float = Field(gt=0.0)
    period_s: PositiveSeconds = 14_400.0
    """Fill and empty once."""
    noise_m: float = Field(default=0.0003, ge=0.0)
    """The radar's repeatability."""

    def value_at(self, seed: int, key: int, time_ns: int) -> float:  # noqa: ARG002
        """Level at a time."""
        period_ns = round(self.period_s * _SECOND_NS)
        phase = (time_ns % period_ns / period_ns + uniform(key, 0)) % 1.0
        filled_ratio = 1.0 - abs(2.0 * phase - 1.0)
        return self.low_m + (self.high_m - self.low_m) * filled_ratio + self.noise_m * white(key, time_ns)


class IndoorCarbonDioxide(Settings):
    """CO2 in a room with people by day, in ppm."""

    kind: Literal["indoor_carbon_dioxide"]
    empty_ppm: float = 430.0
    full_ppm: float = 900.0
    noise_ppm: float = Field(default=4.0, ge=0.0)

    def value_at(self, seed: int, key: int, time_ns: int) -> float:  # noqa: ARG002
        """Concentration at a time: highest at 14:00 solar time, lowest at 02:00."""
        occupied_ratio = (0.5 + 0.5 * _day_sine(time_ns)) * (0.9 + 0.1 * wander(key, time_ns, 300 * _SECOND_NS))
        exhaled_ppm = (self.full_ppm - self.empty_ppm) * occupied_ratio
        return max(self.empty_ppm + exhaled_ppm + self.noise_ppm * white(key, time_ns), 0.0)


class Counter(Settings):
    """Grows by `step` with each read, and begins again after `last`. For loss tests: no physical meaning."""

    kind: Literal["counter"]
    first: float = 0.0
    step: float = Field(default=1.0, gt=0.0)
    """A power of two (1, 0.5, 0.0009765625) stays exact in a 32-bit float."""
    last: float = 16_777_215.0
    """The largest whole number that a 32-bit float counts to without a gap."""

    def value_of(self, read_count: int) -> float:
        """What the read after `read_count` earlier ones gets."""
        steps = int((self.last - self.first) / self.step) + 1
        return self.first + self.step * (read_count % steps)


TimeSignal = Constant | Drift | AmbientTemperature | BridgeStrain | BridgeAcceleration | TankLevel | IndoorCarbonDioxide
Signal = Annotated[TimeSignal | Counter, Field(discriminator="kind")]


def _day_sine(time_ns: int) -> float:
    """1 at 14:00 solar time, -1 at 02:00."""
    second = (time_ns / _SECOND_NS + _SOLAR_OFFSET_S) % _DAY_S
    return math.cos(2.0 * math.pi * (second / _DAY_S - 14.0 / 24.0))


def _weather(seed: int, place: str, time_ns: int) -> float:
    """Departure of a place's temperature from its mean, about -1.3 to 1.3 of the day's amplitude."""
    return _day_sine(time_ns) + 0.3 * wander(make_key(seed, place, "weather"), time_ns, 3600 * _SECOND_NS)
