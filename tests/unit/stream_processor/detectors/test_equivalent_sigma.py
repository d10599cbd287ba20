"""Distances of several numbers as sigmas of one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, norm

from stream_processor.detectors.equivalent_sigma import COUNT_MAX, equivalent_sigma


@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 48, COUNT_MAX])
def test_the_sigma_has_the_tail_of_the_chi_square(count):
    distance = np.linspace(0.05, 30.0, 400)
    expected = norm.isf(0.5 * chi2.sf(distance**2, count))
    known = np.isfinite(expected) & (expected > 0.01)
    ours = equivalent_sigma(distance, np.full(len(distance), count))
    np.testing.assert_allclose(ours[known], expected[known], rtol=3e-3, atol=2e-3)


@pytest.mark.parametrize("count", [1, 5, COUNT_MAX])
def test_it_grows_with_the_distance_without_end(count):
    distance = np.concatenate([np.linspace(0.0, 100.0, 5_000), [1e3, 1e9]])
    sigma = equivalent_sigma(distance, np.full(len(distance), count))
    assert sigma[0] == pytest.approx(0.0, abs=1e-6)
    assert (np.diff(sigma) > -1e-12).all()
    assert sigma[-1] == pytest.approx(1e9, rel=1e-6)


def test_of_one_number_the_sigma_is_the_distance():
    distance = np.linspace(0.0, 200.0, 999)
    np.testing.assert_allclose(equivalent_sigma(distance, np.ones(999, dtype=np.intp)), distance, atol=1e-3)


def test_of_no_number_there_is_no_sigma():
    assert np.isnan(equivalent_sigma(np.array([0.0]), np.array([0]))).all()
