"""Calibration: a device's own number → a quantity in our unit.

    linear          value = scale · raw + offset
    polynomial      value = Σ coefficients[k] · raw^k
    steinhart_hart  °C    = 1 / (A + B·lnR + C·lnR³ + D·lnR⁵) − kelvin_offset, R in ohm
                    (Geokon thermistor manual 8002-4-1, equation 7, with its offset of 273.2)
    lookup          straight lines between given points (raw, value)
    vibrating_wire  µε    = gauge_factor · (f² − f0²) · 10⁻³, f in Hz (Geokon strain gauge manuals)

A number outside of a formula's domain (ln of 0 ohm: an open wire; beyond a table) gives NaN, which becomes the quality
reason `out_of_range` without a value; it never raises.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Final, Literal

from contracts.plain_settings import BY_KIND, Limits, plain_settings
from edge_agent.lines.linear_conversion import LinearConversion

Conversion = Callable[[float], float]

GEOKON_KELVIN_OFFSET: Final = 273.2
"""K; the thermistor tables of Geokon use 273.2, not 273.15."""


@plain_settings
class LinearCalibration:
    """Scale and offset."""

    kind: Literal["linear"]
    scale: float = 1.0
    offset: float = 0.0


@plain_settings
class PolynomialCalibration:
    """Coefficients from the constant upwards."""

    kind: Literal["polynomial"]
    coefficients: Annotated[tuple[float, ...], Limits(min_length=1, max_length=10)]


@plain_settings
class SteinhartHartCalibration:
    """A thermistor: ohm → °C."""

    kind: Literal["steinhart_hart"]
    coefficients: tuple[float, float, float, float]
    """A, B, C, D of (ln R)⁰, ¹, ³, ⁵."""
    kelvin_offset: float = GEOKON_KELVIN_OFFSET


@plain_settings
class VibratingWireCalibration:
    """A vibrating-wire strain gauge: Hz → µε."""

    kind: Literal["vibrating_wire"]
    gauge_factor: Annotated[float, Limits(gt=0.0)]
    """From the gauge's calibration sheet."""
    zero_frequency_hz: Annotated[float, Limits(gt=0.0, le=20_000.0)]
    """The frequency at which strain is called zero."""


@plain_settings
class LookupCalibration:
    """A table from a calibration sheet, with straight lines between its points."""

    kind: Literal["lookup"]
    points: Annotated[tuple[tuple[float, float], ...], Limits(min_length=2, max_length=1000)]
    """(raw, value), raw increasing."""
    beyond: Literal["refuse", "hold"] = "refuse"
    """Outside of the table: no value, or that of its nearest end."""

    def __post_init__(self) -> None:
        for (before, _), (behind, _) in pairwise(self.points):
            if behind <= before:
                raise ValueError(f"points: {behind} stands behind {before}: raw numbers must increase")


Calibration = Annotated[
    LinearCalibration | PolynomialCalibration | SteinhartHartCalibration | VibratingWireCalibration | LookupCalibration,
    BY_KIND,
]


@lru_cache(maxsize=256)
def build_conversion(calibration: Calibration) -> Conversion:
    """The function that a calibration is."""
    match calibration:
        case LinearCalibration(scale=scale, offset=offset):
            return LinearConversion(scale, offset)
        case PolynomialCalibration(coefficients=coefficients):
            return lambda raw: evaluate_polynomial(coefficients, raw)
        case SteinhartHartCalibration(coefficients=coefficients, kelvin_offset=kelvin_offset):
            return lambda raw: celsius_from_resistance(raw, coefficients, kelvin_offset)
        case VibratingWireCalibration(gauge_factor=gauge_factor, zero_frequency_hz=zero_hz):
            return lambda raw: strain_from_frequency(raw, gauge_factor, zero_hz)
        case LookupCalibration(points=points, beyond=beyond):
            return lambda raw: interpolate(points, raw, holds=beyond == "hold")


def evaluate_polynomial(coefficients: tuple[float, ...], raw: float) -> float:
    """Horner's scheme; `coefficients` from the constant upwards."""
    total = 0.0
    for coefficient in reversed(coefficients):
        total = total * raw + coefficient
    return total


def interpolate(points: Sequence[tuple[float, float]], raw: float, holds: bool) -> float:
    """On the straight line between the points around `raw`; outside NaN, or the nearest end's value if it `holds`."""
    at = bisect_right(points, raw, key=lambda point: point[0])
    if at == 0 or at == len(points):
        end = points[0 if at == 0 else -1]
        return end[1] if holds or raw == end[0] else math.nan
    (x0, y0), (x1, y1) = points[at - 1], points[at]
    return y0 + (y1 - y0) * (raw - x0) / (x1 - x0)


def celsius_from_resistance(
    resistance_ohm: float,
    coefficients: tuple[float, float, float, float],
    kelvin_offset: float = GEOKON_KELVIN_OFFSET,
) -> float:
    """Temperature of a thermistor in °C; NaN where the formula has no value."""
    if not resistance_ohm > 0.0 or math.isinf(resistance_ohm):
        return math.nan
    a, b, c, d = coefficients
    logarithm = math.log(resistance_ohm)
    inverse_kelvin = a + b * logarithm + c * logarithm**3 + d * logarithm**5
    return 1.0 / inverse_kelvin - kelvin_offset if inverse_kelvin > 0.0 else math.nan


def strain_from_frequency(frequency_hz: float, gauge_factor: float, zero_frequency_hz: float) -> float:
    """Strain in µε, positive in tension."""
    return gauge_factor * (frequency_hz * frequency_hz - zero_frequency_hz * zero_frequency_hz) * 1e-3
