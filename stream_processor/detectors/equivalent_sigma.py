"""How unusual a distance of several numbers at once is, as the distance of one number that is as unusual.

    P(|N(0, 1)| > d) = P(χ²ₚ > D²)          D the Mahalanobis distance of p numbers, d in sigma

So a group of any size speaks the language of scores: with p = 1, d is D; with p = 20, D = 4.5 is what is usual, and d
is 0.7. The tail of χ² follows from p - 2 by the recurrence Q(p) = Q(p - 2) + (D²/2)^(p/2 - 1) exp(-D²/2) / Γ(p/2)
(Abramowitz and Stegun, Handbook of Mathematical Functions, 26.4.8), in logarithms, since tails of 30 sigma underflow.
It is tabulated in steps of 1/32 up to D = 64; beyond that D and d grow alike.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.record import Floats

COUNT_MAX: Final = 64
"""As many numbers at once as the table knows."""
_STEPS_A_SIGMA: Final = 32
_DISTANCE_MAX: Final = 64
_ASYMPTOTIC_FROM: Final = 30.0
"""math.erfc underflows at 38 sigma; from here on its asymptotic series is exact to 1e-8."""


def equivalent_sigma(distances: Floats, counts: NDArray[np.intp]) -> Floats:
    """The sigma of each distance.

    Args:
        distances: Mahalanobis distances, >= 0.
        counts: how many numbers each is of, 0 to `COUNT_MAX`; of none the sigma is NaN.
    """
    table = _table()
    place = np.minimum(distances, _DISTANCE_MAX) * _STEPS_A_SIGMA
    left = np.minimum(place.astype(np.intp), table.shape[1] - 2)
    low, high = table[counts, left], table[counts, left + 1]
    sigma: Floats = low + (place - left) * (high - low)
    sigma += np.maximum(distances - _DISTANCE_MAX, 0.0)
    return sigma


@cache
def _table() -> Floats:
    """By count and by distance in steps."""
    distance = np.arange(_DISTANCE_MAX * _STEPS_A_SIGMA + 1) / _STEPS_A_SIGMA
    half = np.maximum(0.5 * distance * distance, 1e-300)
    tails = [np.full_like(half, -np.inf), np.array([_log_two_tails(each) for each in distance.tolist()]), -half]
    for count in range(3, COUNT_MAX + 1):
        term = (0.5 * count - 1.0) * np.log(half) - half - math.lgamma(0.5 * count)
        tails.append(np.logaddexp(tails[count - 2], term))
    one = tails[1]
    table = np.array([np.interp(-np.minimum(tail, 0.0), -one, distance) for tail in tails])
    np.maximum.accumulate(table, axis=1, out=table)
    table[0] = np.nan
    return table


def _log_two_tails(sigma: float) -> float:
    """The logarithm of P(|N(0, 1)| > sigma)."""
    if sigma < _ASYMPTOTIC_FROM:
        return math.log(math.erfc(sigma / math.sqrt(2.0)))
    square = sigma * sigma
    series = 1.0 - 1.0 / square + 3.0 / square**2 - 15.0 / square**3
    return -0.5 * square - math.log(sigma * math.sqrt(0.5 * math.pi)) + math.log(series)
