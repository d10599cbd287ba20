"""The quantity table: units in UCUM, ranges that a city can show."""

from __future__ import annotations

import math

import pytest

from contracts.identifiers import is_identifier
from contracts.quantity import QUANTITIES

UCUM_CODES = {
    "1": "the number one",
    "%": "percent",
    "%{LEL}": "percent with the annotation LEL (lower explosive limit)",
    "[ppm]": "parts per million",
    "[ppb]": "parts per billion (1e-9)",
    "Cel": "degree Celsius",
    "deg": "degree of plane angle",
    "kPa": "kilopascal",
    "m": "metre",
    "mm": "millimetre",
    "m/s": "metre per second",
    "m/s2": "metre per second squared",
    "m3/h": "cubic metre per hour",
    "um/m": "micrometre per metre (microstrain)",
    "ug/m3": "microgram per cubic metre",
    "{count}": "the number one, annotated",
    "{cycles}": "the number one, annotated: cycles of a rainflow count",
    "{LEL}.m": "metre, annotated: lower explosive limits along a path",
    "s": "second",
    "A": "ampere",
    "V": "volt",
    "dB[SPL]": "decibel of sound pressure level",
    "[pH]": "pH",
    "uS/cm": "microsiemens per centimetre",
    "mg/m3": "milligram per cubic metre",
    "mg/L": "milligram per litre",
    "kg": "kilogram",
    "m3": "cubic metre",
    "L/s": "litre per second",
    "/cm3": "per cubic centimetre",
    "um": "micrometre",
    "{index}": "the number one, annotated: an index",
    "kOhm": "kiloohm",
    "hPa": "hectopascal",
    "mm/h": "millimetre per hour",
    "/cm2": "per square centimetre",
    "/cm2/h": "per square centimetre and hour",
    "W/m2": "watt per square metre",
    "ng/L": "nanogram per litre",
    "ug/L": "microgram per litre",
    "/L": "per litre",
    "Bq/L": "becquerel per litre",
    "m2": "square metre",
    "t/km2/mo": "tonne per square kilometre and month",
    "{PCU}": "the number one, annotated: platinum-cobalt units of colour",
}
"""UCUM case-sensitive codes that are known to be valid (https://ucum.org/ucum, tables 1 to 24)."""
EXTREMES_ON_EARTH = {
    "temperature": (-60.0, 1_000.0),  # a northern winter; inside of a fire
    "wind_speed": (0.0, 100.0),
    "oxygen": (0.0, 23.5),
    "relative_humidity": (0.0, 100.0),
    "carbon_dioxide": (350.0, 50_000.0),
    "methane_lel": (0.0, 100.0),
    "pressure": (0.0, 10_000.0),
    "fire_alarm": (0.0, 1.0),
    "pm2_5": (0.0, 1_000.0),
    "strain": (-5_000.0, 5_000.0),
}
"""What does happen (in the table's unit) and must therefore be plausible."""
each_quantity = pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)


@each_quantity
def test_a_quantity_is_found_by_its_own_name_which_is_an_identifier(quantity):
    assert QUANTITIES[quantity.name] is quantity
    assert is_identifier(quantity.name)


def test_no_row_hides_another_one():
    names = "methane_lel carbon_monoxide hydrogen_sulfide oxygen temperature strain tilt level pressure fire_alarm"
    assert set(names.split(" ")) <= set(QUANTITIES)
    titles = [quantity.title for quantity in QUANTITIES.values()]
    assert len(set(titles)) == len(titles)


@each_quantity
def test_a_unit_is_a_ucum_code(quantity):
    assert quantity.unit in UCUM_CODES, f"look {quantity.unit!r} up at ucum.org, then add it to UCUM_CODES here"


def test_no_ucum_code_stands_in_the_golden_list_in_vain():
    assert set(UCUM_CODES) == {quantity.unit for quantity in QUANTITIES.values()}


@each_quantity
def test_the_plausible_range_is_a_finite_range_and_nothing_outside_is_plausible(quantity):
    low, high = quantity.plausible_min, quantity.plausible_max
    assert math.isfinite(low)
    assert math.isfinite(high)
    assert low < high
    assert quantity.is_plausible(low)
    assert quantity.is_plausible(high)
    assert not quantity.is_plausible(math.nextafter(low, -math.inf))
    assert not quantity.is_plausible(math.nextafter(high, math.inf))


def test_a_factor_that_nobody_knows_is_a_quantity_under_its_code_and_no_other_name_is():
    assert "hj212_w99051" in QUANTITIES
    assert QUANTITIES["hj212_w99051"] == QUANTITIES.get("hj212_w99051")
    assert QUANTITIES["hj212_w99051"].unit == "[arb'U]", "UCUM's arbitrary unit: nobody says which it is"
    assert QUANTITIES["hj212_w99051"].is_plausible(-1e9)
    assert "hj212_w99051" not in list(QUANTITIES), "the table does not grow by being asked"
    for name in ("hj212_", "hj212_w-1", "hj212_" + "9" * 13, "w99051", "x"):
        assert name not in QUANTITIES
        assert QUANTITIES.get(name) is None
        with pytest.raises(KeyError):
            QUANTITIES[name]


@each_quantity
def test_what_is_no_number_is_never_plausible(quantity):
    for value in (math.nan, math.inf, -math.inf):
        assert not quantity.is_plausible(value)


@each_quantity
def test_the_pages_digits_show_a_change_of_a_ten_thousandth_of_the_range(quantity):
    assert 0 <= quantity.decimals <= 4
    if quantity.plausible_max - quantity.plausible_min > 1:
        assert 10.0**-quantity.decimals <= (quantity.plausible_max - quantity.plausible_min) / 100


@pytest.mark.parametrize(("name", "extremes"), EXTREMES_ON_EARTH.items(), ids=EXTREMES_ON_EARTH)
def test_what_does_happen_is_plausible(name, extremes):
    for value in extremes:
        assert QUANTITIES[name].is_plausible(value)


def test_a_byte_of_all_ones_from_a_broken_sensor_is_not_plausible_where_a_city_cannot_show_it():
    for name in ("methane_lel", "oxygen", "relative_humidity", "wind_speed", "level", "fire_alarm"):
        assert not QUANTITIES[name].is_plausible(65_535.0)
        assert not QUANTITIES[name].is_plausible(-32_768.0)


def test_the_table_cannot_be_changed_at_run_time():
    with pytest.raises(TypeError):
        QUANTITIES["methane_lel"] = QUANTITIES["oxygen"]


@each_quantity
def test_a_greatest_rate_and_a_flat_line_time_are_far_from_what_rests_and_noise_do(quantity):
    if quantity.max_rate is not None:
        assert quantity.max_rate >= 100 * 10.0**-quantity.decimals or quantity.decimals == 0
    if quantity.flat_line_s is not None:
        assert quantity.flat_line_s >= 3_600


def test_what_rests_or_jumps_by_right_is_not_watched_for_it():
    for name in ("methane_lel", "carbon_monoxide", "hydrogen_sulfide", "oxygen", "level", "fire_alarm", "flow"):
        assert QUANTITIES[name].flat_line_s is None
    for name in ("fire_alarm", "acceleration", "strain", "pressure", "flow"):
        assert QUANTITIES[name].max_rate is None
