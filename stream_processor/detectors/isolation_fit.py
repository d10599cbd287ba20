"""Fits the isolation forest of one asset with scikit-learn, and takes it apart into arrays. Slow to import: one second.

    F. T. Liu, K. M. Ting, Z.-H. Zhou, Isolation forest, 2008; scikit-learn's IsolationForest.

Only the process that refits imports this module (`refit_forest`); scoring needs the arrays alone (`group_forest`).
Same order, same forest: chance comes from the order's seed. No pickle: what comes and goes are arrays as bytes.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest  # type: ignore[import-untyped]

from contracts.record import Floats
from stream_processor.detectors.isolation_forest import (
    SAMPLES,
    TREES,
    FittedForest,
    Forests,
    RefitOrder,
    empty_forests,
    isolate,
    leaf_depth,
)

_LEAF: Final = -1
_OUTER_QUANTILES: Final = (0.01, 0.99)
_OUTER_RANGES: Final = 3.0
"""Samples are Winsorised so many ranges beyond their outer quantiles: a spike cannot spend the splits of a tree."""
_USUAL_QUANTILES: Final = (0.5, 0.9973)
"""Of |N(0, 1)| they are 0.674 and 3."""


def fit_forest(order: RefitOrder) -> FittedForest:
    """The forest of an order's samples. Raises ValueError if there are none, or scikit-learn refuses them."""
    if len(order.samples) < 2:
        raise ValueError(f"{len(order.samples)} frames of asset {order.row} make no forest")
    median, filled = _filled(order.samples)
    samples = min(SAMPLES, len(filled))
    forests = _grow(_winsorised(filled), samples, order.seed)
    rows = np.zeros(len(filled), dtype=np.intp)
    usual = isolate(forests, rows, filled, np.full(len(filled), samples))
    return FittedForest(order.row, order.serial, samples, median, np.quantile(usual, _USUAL_QUANTILES), forests)


def _filled(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The median of each channel (0 if it was never heard), and the samples with it where a channel was missing."""
    heard = ~np.isnan(samples).all(axis=0)
    median = np.zeros(samples.shape[1], dtype=np.float32)
    median[heard] = np.nanmedian(samples[:, heard], axis=0)
    return median, np.where(np.isnan(samples), median, samples)


def _winsorised(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    low, high = np.quantile(samples, _OUTER_QUANTILES, axis=0)
    room = _OUTER_RANGES * (high - low)
    return np.clip(samples, low - room, high + room).astype(np.float32)


def _grow(samples: NDArray[np.float32], samples_a_tree: int, seed: int) -> Forests:
    """scikit-learn's trees as arrays."""
    fitted = IsolationForest(n_estimators=TREES, max_samples=samples_a_tree, random_state=seed).fit(samples)
    forests = empty_forests(1)
    for number, estimator in enumerate(fitted.estimators_):
        tree = estimator.tree_
        place = 0, number, slice(0, tree.node_count)
        is_leaf = tree.children_left == _LEAF
        forests.feature[place] = np.where(is_leaf, _LEAF, tree.feature)
        forests.threshold[place] = _rounded_down(tree.threshold)
        # A leaf is its own child: a descent of fixed length stays there.
        own = np.arange(tree.node_count)
        left = forests.left[place] = np.where(is_leaf, own, tree.children_left)
        right = forests.right[place] = np.where(is_leaf, own, tree.children_right)
        forests.depth[place] = _depths(left, right) + leaf_depth(tree.n_node_samples)
    return forests


def _rounded_down(threshold: Floats) -> NDArray[np.float32]:
    """For any 32-bit x, x <= threshold means the same as x <= this."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _depths(left: NDArray[np.int64], right: NDArray[np.int64]) -> Floats:
    """How many splits lie above each node; scikit-learn numbers a parent before its children."""
    depths = np.zeros(len(left))
    for node in range(len(left)):
        if left[node] != node:
            depths[left[node]] = depths[right[node]] = depths[node] + 1.0
    return depths
