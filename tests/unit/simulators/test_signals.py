"""Signals: the same seed gives the same world, another seed another; all of it plausible."""

from __future__ import annotations

import statistics

import pytest
from pydantic import TypeAdapter

from contracts.quantity import QUANTITIES
from simulators.field_signal import Signal
from simulators.noise import make_key, uniform, wander, white

SIGNALS = {
    "methane_lel": {"kind": "drift", "mean": 0.8, "drift": 0.4, "noise": 0.06, "minimum": 0.0},
    "strain": {"kind": "bridge_strain", "place": "heron", "mean_strain_ue": 40.0},
    "temperature": {"kind": "ambient_temperature", "place": "heron"},
    "level": {"kind": "tank_level", "low_m": 2.0, "high_m": 11.0},
    "carbon_dioxide": {"kind": "indoor_carbon_dioxide"},
    "fire_alarm": {"kind": "constant", "value": 0.0},
}
EXPECTED = {  # what the duty officer would find normal
    "methane_lel": (0.0, 2.0),
    "strain": (-60.0, 160.0),
    "temperature": (5.0, 23.0),
    "level": (1.99, 11.01),
    "carbon_dioxide": (380.0, 960.0),
    "fire_alarm": (0.0, 0.0),
}
START_NS = 1_700_000_000_000_000_000
DAY_NS = 86_400_000_000_000


def _series(quantity: str, seed: int, step_ns: int, count: int) -> list[float]:
    signal = TypeAdapter(Signal).validate_python(SIGNALS[quantity])
    key = make_key(seed, "node", quantity)
    return [signal.value_at(seed, key, START_NS + at * step_ns) for at in range(count)]


@pytest.mark.parametrize("quantity", SIGNALS)
def test_a_signal_stays_within_what_is_normal_for_two_days(quantity):
    low, high = EXPECTED[quantity]
    values = _series(quantity, 4, 2 * DAY_NS // 4000, 4000)
    assert low <= min(values), "too low"
    assert max(values) <= high, "too high"
    assert all(map(QUANTITIES[quantity].is_plausible, values))


@pytest.mark.parametrize("quantity", [name for name in SIGNALS if name != "fire_alarm"])
def test_the_seed_alone_decides(quantity):
    first = _series(quantity, 4, 137_000_000, 200)
    assert first == _series(quantity, 4, 137_000_000, 200)
    assert first != _series(quantity, 5, 137_000_000, 200)
    assert statistics.pstdev(first) > 0.0, "a sensor that never moves teaches nobody anything"


def test_lorries_pass_the_gauges_of_a_bridge_one_after_the_other():
    def strain(delay_s: float, at_ns: int) -> float:
        row = {**SIGNALS["strain"], "noise_strain_ue": 0.0, "thermal_strain_ue": 0.0, "delay_s": delay_s}
        return TypeAdapter(Signal).validate_python(row).value_at(4, 1, at_ns)

    times_ns = [START_NS + at * 100_000_000 for at in range(600)]
    at_entry = [strain(0.0, at_ns) for at_ns in times_ns]
    assert max(at_entry) > 48.0, "no lorry within a minute"
    assert at_entry == [strain(3.0, at_ns + 3_000_000_000) for at_ns in times_ns]


def test_noise_is_centred_bounded_and_constant_within_its_step():
    key = make_key(4, "noise")
    values = [white(key, at * 100_000_000) for at in range(20_000)]
    assert abs(statistics.fmean(values)) < 0.03
    assert statistics.pstdev(values) == pytest.approx(1.0, abs=0.03)
    assert max(map(abs, values)) <= 3.4642
    assert white(key, 1_000_000_000) == white(key, 1_099_999_999) != white(key, 1_100_000_000)


def test_drift_has_no_jump_at_its_knots():
    key = make_key(4, "drift")
    period_ns = 1_000_000_000
    for knot in range(50):
        before, at = (wander(key, knot * period_ns + offset, period_ns) for offset in (-1, 0))
        assert before == pytest.approx(at, abs=1e-6)
        assert -1.0 <= at <= 1.0


def test_uniform_numbers_are_uniform():
    key = make_key(4, "uniform")
    deciles = [0] * 10
    for index in range(10_000):
        deciles[int(10 * uniform(key, index))] += 1
    assert min(deciles) > 850
    assert max(deciles) < 1150
