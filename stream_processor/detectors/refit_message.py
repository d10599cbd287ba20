"""Orders and forests as bytes, between a job and the process that refits: numpy arrays (npz), no pickle."""

from __future__ import annotations

from typing import Final

import numpy as np

from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.isolation_forest import FittedForest, Forests, RefitOrder

_VERSION: Final = 1
_ORDER: Final = "refit_order"
_FITTED: Final = "fitted_forest"


def encode_order(order: RefitOrder) -> bytes:
    """An order as bytes."""
    numbers = np.array([order.row, order.serial, order.seed])
    return encode_snapshot(_ORDER, _VERSION, {"numbers": numbers, "samples": order.samples})


def decode_order(encoded: bytes) -> RefitOrder:
    """The order. Raises ValueError if the bytes are none."""
    numbers, samples = decode_snapshot(encoded, _ORDER, _VERSION, ("numbers", "samples"))
    row, serial, seed = numbers.tolist()
    return RefitOrder(row, serial, seed, samples)


def encode_fitted(fitted: FittedForest) -> bytes:
    """A forest as bytes."""
    numbers = np.array([fitted.row, fitted.serial, fitted.samples])
    arrays = {"numbers": numbers, "median": fitted.median, "quantiles": fitted.quantiles, **fitted.forests._asdict()}
    return encode_snapshot(_FITTED, _VERSION, arrays)


def decode_fitted(encoded: bytes) -> FittedForest:
    """The forest. Raises ValueError if the bytes are none."""
    names = ("numbers", "median", "quantiles", *Forests._fields)
    numbers, median, quantiles, *forests = decode_snapshot(encoded, _FITTED, _VERSION, names)
    row, serial, samples = numbers.tolist()
    return FittedForest(row, serial, samples, median, quantiles, Forests(*forests))
