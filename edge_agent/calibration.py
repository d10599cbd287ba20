"""Calibration: a device's own number → a quantity in our unit.

    linear          value = scale · raw + offset
    polynomial      value = Σ coefficients[k] · raw^k
    steinhart_hart  °C    = 1 / (A + B·lnR + C·lnR³ + D·lnR⁵) − kelvin_offset, R in ohm
                    (Geokon thermistor manual 8002-4-1, equation 7, with its offset of 273.2)
    vibrating_wire  µε    = gauge_factor · (f² − f0²) · 10⁻³, f in Hz (Geokon strain gauge manuals)

A number outside of a formula's domain (ln of 0 ohm: an open wire) gives NaN, which becomes the quality reason
`not_a_number`; it never raises.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Final, Literal

from pydantic import Field, FiniteFloat

from contracts.configuration import Settings

Conversion = Callable[[float], float]

GEOKON_KELVIN_OFFSET: Final = 273.2
"""K; the thermistor tables of Geokon use 273.2, not 273.15."""


class LinearCalibration(Settings):
    """Scale and offset."""

    kind: Literal["linear"]
    scale: FiniteFloat = 1.0
    offset: FiniteFloat = 0.0


class PolynomialCalibration(Settings):
    """Coefficients from the constant upwards."""

    kind: Literal["polynomial"]
    coefficients: tuple[FiniteFloat, ...] = Field(min_length=1, max_length=10)


class SteinhartHartCalibration(Settings):
    """A thermistor: ohm → °C."""

    kind: Literal["steinhart_hart"]
    coefficients: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    """A, B, C, D of (ln R)⁰, ¹, ³, ⁵."""
    kelvin_offset: FiniteFloat = GEOKON_KELVIN_OFFSET


class VibratingWireCalibration(Settings):
    """A vibrating-wire strain gauge: Hz → µε."""

    kind: Literal["vibrating_wire"]
    gauge_factor: FiniteFloat = Field(gt=0.0)
    """From the gauge's calibration sheet."""
    zero_frequency_hz: FiniteFloat = Field(gt=0.0, le=20_000.0)
    """The frequency at which strain is called zero."""


Calibration = Annotated[
    LinearCalibration | PolynomialCalibration | SteinhartHartCalibration | VibratingWireCalibration,
    Field(discriminator="kind"),
]


@lru_cache(maxsize=256)
def build_conversion(calibration: Calibration) -> Conversion:
    """The function that a calibration is."""
    match calibration:
        case LinearCalibration(scale=scale, offset=offset):
            return lambda raw: scale * raw + offset
        case PolynomialCalibration(coefficients=coefficients):
            return lambda raw: evaluate_polynomial(coefficients, raw)
        case SteinhartHartCalibration(coefficients=coefficients, kelvin_offset=kelvin_offset):
            return lambda raw: celsius_from_resistance(raw, coefficients, kelvin_offset)
        case VibratingWireCalibration(gauge_factor=gauge_factor, zero_frequency_hz=zero_hz):
            return lambda raw: strain_from_frequency(raw, gauge_factor, zero_hz)


def evaluate_polynomial(coefficients: tuple[float, ...], raw: float) -> float:
    """Horner's scheme; `coefficients` from the constant upwards."""
    total = 0.0
    for coefficient in reversed(coefficients):
        total = total * raw + coefficient
    return total


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
