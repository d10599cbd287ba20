"""Isolation forests as arrays: what is ordered, what comes back, how frames are scored; without scikit-learn.

    a = 2^(-E[h] / c(ψ))        h: depth of the leaf that a frame falls into, + c(samples in the leaf), over all trees
    c(n) = 2·(H(n - 1)) - 2·(n - 1)/n,  H(i) ≈ ln i + 0.5772156649            c(1) = 0, c(2) = 1

Source: Liu, Ting, Zhou, Isolation forest, 2008, equations 1 and 2. a near 1 is easily isolated, 0.5 is usual.
A tree is at most log2(ψ) = 7 deep and has at most 255 nodes: nodes fit a byte, and a descent has 7 steps.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats
from stream_processor.packed_rows import Rows

TREES: Final = 50
SAMPLES: Final = 128
"""ψ: of the good frames, what each tree is grown from."""
NODES: Final = 2 * SAMPLES - 1
_DEPTH: Final = 7
_EULER: Final = 0.5772156649015329


class RefitOrder(NamedTuple):
    """Work for the background: a forest of these samples."""

    row: int
    """The asset."""
    serial: int
    """Counts the orders of the asset."""
    seed: int
    """0 to 2³² - 1."""
    samples: NDArray[np.float32]
    """Good frames by place; NaN where a channel was missing."""


class Forests(NamedTuple):
    """Forests of many assets: arrays by asset, tree and node."""

    feature: NDArray[np.int8]
    """The place that a node asks for; negative in a leaf."""
    threshold: NDArray[np.float32]
    """x <= threshold goes left."""
    left: NDArray[np.uint8]
    right: NDArray[np.uint8]
    depth: NDArray[np.float32]
    """h of a leaf."""


class FittedForest(NamedTuple):
    """What came of an order."""

    row: int
    serial: int
    samples: int
    """ψ: frames that each tree was grown from."""
    median: NDArray[np.float32]
    """By place: what a missing channel counts as."""
    quantiles: Floats
    """a50 and a997 of the samples."""
    forests: Forests
    """One asset's."""


def leaf_depth(samples: NDArray[np.int64]) -> Floats:
    """c(n): how deep a search in a tree of n samples goes on average."""
    count = np.maximum(samples.astype(np.float64), 2.0)
    depth = 2.0 * (np.log(count - 1.0) + _EULER) - 2.0 * (count - 1.0) / count
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, depth))


def isolate(forests: Forests, rows: Rows, values: NDArray[np.float32], samples: NDArray[np.int64]) -> Floats:
    """The anomaly score a of each frame, 0 to 1, in the forest of its asset.

    Args:
        forests: of all assets.
        rows: the asset of each frame.
        values: by frame and place, without gaps.
        samples: ψ of each frame's forest.
    """
    shape = forests.feature.shape
    tree = np.arange(shape[1])
    base = (rows[:, None] * shape[1] + tree) * shape[2]
    feature, threshold = forests.feature.reshape(-1), forests.threshold.reshape(-1)
    left, right = forests.left.reshape(-1), forests.right.reshape(-1)
    frame = np.arange(len(rows))[:, None]
    node = np.zeros(base.shape, dtype=np.intp)
    for _ in range(_DEPTH):
        at = base + node
        goes_left = values[frame, feature[at]] <= threshold[at]
        node = np.where(goes_left, left[at], right[at]).astype(np.intp)
    mean_depth = forests.depth.reshape(-1)[base + node].astype(np.float64).mean(axis=1)
    isolation: Floats = np.exp2(-mean_depth / leaf_depth(samples))
    return isolation


def empty_forests(asset_count: int) -> Forests:
    """Forests of leaves."""
    shape = asset_count, TREES, NODES
    return Forests(
        np.full(shape, -1, dtype=np.int8),
        np.zeros(shape, dtype=np.float32),
        np.zeros(shape, dtype=np.uint8),
        np.zeros(shape, dtype=np.uint8),
        np.zeros(shape, dtype=np.float32),
    )
