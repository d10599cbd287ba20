"""Calibration against published examples."""

import math

import pytest

from edge_agent.lines.calibration import (
    LinearCalibration,
    LookupCalibration,
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


def lookup(beyond: str = "refuse"):
    points = ((0.0, 0.0), (100.0, 10.0), (200.0, 40.0))
    return build_conversion(LookupCalibration(kind="lookup", points=points, beyond=beyond))


@pytest.mark.parametrize(
    ("raw", "value"), [(0.0, 0.0), (50.0, 5.0), (100.0, 10.0), (150.0, 25.0), (199.0, 39.7), (200.0, 40.0)]
)
def test_a_table_is_read_on_the_straight_lines_between_its_points(raw, value):
    assert lookup()(raw) == pytest.approx(value)


def test_beyond_a_table_there_is_no_value_or_that_of_its_end_as_the_configuration_says():
    assert math.isnan(lookup()(-1.0))
    assert math.isnan(lookup()(200.5))
    assert lookup("hold")(-1.0) == 0.0
    assert lookup("hold")(1e9) == 40.0


def test_a_table_whose_points_do_not_increase_is_refused_with_the_place():
    with pytest.raises(ValueError, match=r"5\.0 stands behind 7\.0"):
        LookupCalibration(kind="lookup", points=((7.0, 1.0), (5.0, 2.0)))
