"""What a plot and a report keep of a table of any length."""

from __future__ import annotations

import numpy as np

from stream_processor.trial.envelope import BINS_MAX, Envelope
from stream_processor.trial.incident import APART_READINGS, KEPT, Incident, Incidents


def test_an_envelope_is_bounded_and_loses_no_spike_whatever_the_batches():
    chance = np.random.default_rng(1)
    times = np.arange(50_000) * 7_000_000_000
    values = chance.normal(0.0, 1.0, (50_000, 2))
    values[31_234, 1] = 99.0
    values[::3, 0] = np.nan
    whole, parts = Envelope(2), Envelope(2)
    whole.add(times, values)
    for at in np.array_split(chance.permutation(50_000), 9):
        parts.add(times[at], values[at])
    assert len(whole.numbers) <= BINS_MAX
    assert whole.high.max(axis=0)[1] == 99.0
    assert np.nanmin(whole.low) == np.nanmin(values)
    assert whole.width_ns == parts.width_ns
    np.testing.assert_array_equal(whole.high, parts.high)
    np.testing.assert_array_equal(whole.low, parts.low)


def test_an_envelope_of_nothing_and_of_one_time():
    envelope = Envelope(1)
    envelope.add(np.zeros(0, dtype=np.int64), np.zeros((0, 1)))
    envelope.add(np.full(3, -5), np.array([[1.0], [np.nan], [3.0]]))
    assert (envelope.low.tolist(), envelope.high.tolist()) == ([[1.0]], [[3.0]])


def take(incidents, score, number):
    if incidents.is_wanted(score, number):
        incidents.add(Incident(score, number, 0.0, "", number))


def test_high_scores_near_each_other_are_one_incident_with_its_highest():
    incidents = Incidents()
    for number, score in enumerate([0.6, 0.8, 0.7]):
        take(incidents, score, number)
    take(incidents, 0.75, 2 + APART_READINGS)
    take(incidents, 0.65, 3 + 2 * APART_READINGS)
    assert [(each.score, each.time_ns) for each in incidents.highest()] == [(0.8, 1), (0.65, 3 + 2 * APART_READINGS)]


def test_only_the_highest_incidents_are_kept():
    incidents = Incidents()
    scores = np.random.default_rng(2).permutation(np.linspace(0.5, 0.9, 100)).tolist()
    for at, score in enumerate(scores):
        take(incidents, score, at * (APART_READINGS + 1))
    assert [each.score for each in incidents.highest()] == sorted(scores, reverse=True)[:KEPT]
