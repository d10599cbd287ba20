"""Labelled scenarios: the same from the same seed, quantised, and an event where the label says so."""

from __future__ import annotations

import numpy as np
import pytest

from simulators.labelled_scenario import SCENARIOS


@pytest.fixture(params=sorted(SCENARIOS), scope="module")
def record(request):
    return SCENARIOS[request.param](3)


@pytest.mark.parametrize("name", ["gas leak", "tank overfill"])
def test_a_seed_is_a_record_and_another_seed_another(name):
    make = SCENARIOS[name]
    np.testing.assert_array_equal(make(3).values, make(3).values)
    assert not np.array_equal(make(3).values, make(4).values)


def test_every_asset_has_one_event_in_the_second_half(record):
    steps, assets, places = record.values.shape
    assert sorted(label.asset for label in record.labels) == list(range(assets))
    for label in record.labels:
        assert steps // 2 <= label.from_step < label.until_step <= steps
        assert set(label.places) <= set(range(places))
        assert label.places


def test_values_are_finite_and_as_the_instrument_shows_them(record):
    assert np.isfinite(record.values).all()
    steps = record.values / record.resolutions
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-6)
    assert len(record.names) == len(record.units) == record.values.shape[2]


def test_times_are_in_order_and_a_frame_holds_at_least_one_reading(record):
    assert (np.diff(record.times_ns) == round(record.interval_s * 1e9)).all()
    assert record.frame_s >= record.interval_s


def peaks(record, label):
    """Of the channel that shows it most: highest above its usual 99.9 % in the event, and at any time before it."""
    event = record.values[label.from_step : label.until_step, label.asset]
    before = record.values[: label.from_step, label.asset]
    return event.max(axis=0), before.max(axis=0)


@pytest.mark.parametrize("name", ["gas leak", "overloaded truck", "tank overfill", "smouldering fire"])
def test_an_event_goes_beyond_what_the_channel_had_shown(name):
    record = SCENARIOS[name](3)
    for label in record.labels:
        event, before = peaks(record, label)
        beyond = [place for place in label.places if event[place] > before[place]]
        assert beyond, f"asset {label.asset}"


def test_a_leak_stays_below_the_first_alarm_level():
    assert SCENARIOS["gas leak"](3).values.max() < 10.0


def test_a_settling_pier_stays_within_what_the_day_does():
    """It is for detectors that look at gauges together."""
    record = SCENARIOS["settling pier"](3)
    for label in record.labels:
        day = np.ptp(record.values[: label.from_step, label.asset], axis=0)
        assert (day[list(label.places)] > 20.0).all()


def test_a_stuck_sensor_shows_one_value_and_its_neighbours_do_not():
    record = SCENARIOS["stuck sensor"](3)
    for label in record.labels:
        within = record.values[label.from_step : label.until_step, label.asset]
        is_still = np.ptp(within, axis=0) == 0.0
        assert np.flatnonzero(is_still).tolist() == list(label.places)


def test_a_drifting_sensor_ends_three_degrees_from_where_its_neighbours_are():
    record = SCENARIOS["drifting sensor"](3)
    for label in record.labels:
        asset, (place,) = record.values[:, label.asset], label.places
        apart = asset[:, place] - np.delete(asset, place, axis=1).mean(axis=1)
        day = 144
        moved = apart[label.until_step - day : label.until_step].mean() - apart[: 7 * day].mean()
        assert moved == pytest.approx(3.0, abs=0.5)
