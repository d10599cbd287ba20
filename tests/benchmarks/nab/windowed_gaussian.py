"""The windowed Gaussian of NAB, as its published row was made: it says whether the scorer is right. Pure.

    score = 1 - Q(|x - m| / s)     m, s of the last 6,400 values, taken anew every 100 readings; of all before that

Q is the tail of the normal distribution. As in numenta/NAB `windowedGaussian_detector.py` (window 6,400, step 100),
written anew.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

WINDOW_READINGS: Final = 6_400
STEP_READINGS: Final = 100
_SIGMA_OF_CONSTANT: Final = 1e-6


def windowed_gaussian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One score a reading, 0.5 to 1 (0 for the first)."""
    scores = np.zeros(len(values))
    for at in range(1, len(values)):
        if at <= WINDOW_READINGS or (at - WINDOW_READINGS) % STEP_READINGS == 0:
            window = values[max(at - WINDOW_READINGS, 0) : at]
            mean, sigma = window.mean(), window.std() or _SIGMA_OF_CONSTANT
        scores[at] = ndtr(abs(values[at] - mean) / sigma)
    return scores
