"""Calibration against published examples."""

import math

import pytest

from edge_agent.calibration import (
    LinearCalibration,
    PolynomialCalibration,
    SteinhartHartCalibration,
    VibratingWireCalibration,
    build_conversion,
)

US_SENSOR_103JL1A = (1.12766979300187e-3, 2.34444184128213e-4, 8.47692130592308e-8, 1.17512193579615e-11)


def test_the_thermistor_of_geokons_table_shows_25_celsius_at_10000_ohm():
    convert = build_conversion(SteinhartHartCalibration(kind="steinhart_hart", coefficients=US_SENSOR_103JL1A))
    assert convert(10_000.0) == pytest.approx(25.0, abs=0.06), "the table's 0 °C is 273.2 K"
    assert convert(32_650.0) == pytest.approx(0.0, abs=0.1)


@pytest.mark.parametrize("resistance_ohm", [0.0, -5.0, math.inf, math.nan])
def test_an_open_or_shorted_thermistor_has_no_temperature(resistance_ohm):
    convert = build_conversion(SteinhartHartCalibration(kind="steinhart_hart", coefficients=US_SENSOR_103JL1A))
    assert math.isnan(convert(resistance_ohm))


def test_a_vibrating_wire_shows_no_strain_at_its_zero_frequency_and_tension_above_it():
    convert = build_conversion(
        VibratingWireCalibration(kind="vibrating_wire", gauge_factor=4.062, zero_frequency_hz=900.0)
    )
    assert convert(900.0) == 0.0
    assert convert(1000.0) == pytest.approx(771.78)  # 4.062 · (1 000 000 - 810 000) · 10⁻³
    assert convert(800.0) < 0.0


def test_linear_and_polynomial_calibrations_do_what_their_formula_says():
    assert build_conversion(LinearCalibration(kind="linear", scale=0.1, offset=-40.0))(650.0) == pytest.approx(25.0)
    assert build_conversion(PolynomialCalibration(kind="polynomial", coefficients=(1.0, 2.0, 3.0)))(2.0) == 17.0
