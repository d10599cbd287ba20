"""Isolation forests as arrays, beside scikit-learn itself."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from stream_processor.detectors.isolation_fit import fit_forest
from stream_processor.detectors.isolation_forest import SAMPLES, TREES, RefitOrder, isolate
from stream_processor.detectors.refit_message import decode_fitted, decode_order, encode_fitted, encode_order


def order_of(count=400, width=5, seed=42):
    samples = np.random.default_rng(1).uniform(-1.0, 1.0, (count, width)).astype(np.float32)
    return RefitOrder(3, 1, seed, samples)


@pytest.mark.parametrize("count", [2, 40, 128, 512])
def test_scores_are_those_of_scikit_learn(count):
    order = order_of(count)
    reference = IsolationForest(n_estimators=TREES, max_samples=min(SAMPLES, count), random_state=order.seed)
    reference.fit(order.samples)
    probes = np.random.default_rng(2).normal(0.0, 1.0, (300, 5)).astype(np.float32)
    ours = isolate(fit_forest(order).forests, np.zeros(300, dtype=np.intp), probes, np.full(300, min(SAMPLES, count)))
    np.testing.assert_allclose(ours, -reference.score_samples(probes), rtol=1e-6)


def test_an_order_without_samples_is_refused():
    with pytest.raises(ValueError, match="0 frames of asset 3"):
        fit_forest(order_of(0))


def test_orders_and_forests_travel_as_bytes():
    order = order_of()
    back = decode_order(encode_order(order))
    assert back[:3] == order[:3]
    np.testing.assert_array_equal(back.samples, order.samples)
    fitted = fit_forest(order)
    returned = decode_fitted(encode_fitted(fitted))
    assert returned[:3] == fitted[:3]
    for one, other in zip(returned.forests, fitted.forests, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="fitted_forest"):
        decode_fitted(encode_order(order))
    with pytest.raises(ValueError, match="refit_order"):
        decode_order(b"")
