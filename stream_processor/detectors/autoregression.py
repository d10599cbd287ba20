"""Autoregression over many series: the next value from the last 24, by normalised least mean squares (NLMS). Pure.

    p  = m + Σ w_k · (x_k - m)            prediction from the last ORDER values, x_1 the latest; e = x - p
    w ← w + STEP · e · h / (|h|² + r²)     with h_k = x_k - m, once ORDER values have been seen
    m ← m + a·(x - m),   a = max(1/n, MEAN_ALPHA)

B. Widrow, M. Hoff, Adaptive switching circuits, IRE WESCON 1960; normalised: J. Nagumo, A. Noda, A learning method for
system identification, IEEE Transactions on Automatic Control AC-12(3), 1967. It begins as persistence (w_1 = 1). The
step 0.1 is far below 2, where NLMS ceases to be stable, and small against the noise.

Units: those of the series, as float32 distances from an origin near it; r is the resolution. State: 208 bytes. The
caller limits what comes in: an NLMS takes some 24 readings to forget one spike, the longer the larger it is.
When it fails: it counts readings, not seconds: at a changed interval the weights are those of the old one.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from stream_processor.detectors.packed_state import Singles
from stream_processor.detectors.seen_values import COUNTED
from stream_processor.packed_rows import Rows, gather, scatter

ORDER: Final = 24
STEP: Final = np.float32(0.1)
MEAN_ALPHA: Final = np.float32(1 / 500)
_ONE: Final = np.float32(1.0)
_HEAD: Final = 4
_COUNT, _MEAN = 0, 1
_HISTORY: Final = slice(_HEAD, _HEAD + ORDER)
_WEIGHTS: Final = slice(_HEAD + ORDER, _HEAD + 2 * ORDER)


class Autoregression:
    """Predictors of many series. See the module for formula, state and limits."""

    ARRAYS: ClassVar[tuple[str, ...]] = ("state",)
    """What a snapshot holds."""

    def __init__(self) -> None:
        self.state: Singles = np.zeros((0, _HEAD + 2 * ORDER), dtype=np.float32)

    def grow(self, count: int) -> None:
        """Makes room for rows up to `count` - 1."""
        added = count - len(self.state)
        if added > 0:
            fresh = np.zeros((added, self.state.shape[1]), dtype=np.float32)
            fresh[:, _WEIGHTS.start] = 1.0
            self.state = np.concatenate([self.state, fresh])

    def predict(self, rows: Rows) -> Singles:
        """What each row's next value is expected to be; learns nothing."""
        state = gather(self.state, rows)
        return _predict(state)[0]

    def learn(self, rows: Rows, values: Singles, resolutions: Singles) -> Singles:
        """The predictions, after which the values are learnt; a row stands at most once."""
        state = gather(self.state, rows)
        count, mean = state[:, _COUNT], state[:, _MEAN]
        predictions, history = _predict(state)
        step = STEP * (values - predictions)
        step /= np.einsum("ij,ij->i", history, history) + resolutions * resolutions
        step[count < ORDER] = 0.0
        history *= step[:, np.newaxis]
        state[:, _WEIGHTS] += history
        state[:, _HISTORY.start + 1 : _HISTORY.stop] = state[:, _HISTORY.start : _HISTORY.stop - 1]
        state[:, _HISTORY.start] = values
        np.minimum(count + _ONE, COUNTED, out=count)
        mean += np.maximum(_ONE / count, MEAN_ALPHA) * (values - mean)
        scatter(self.state, rows, state)
        return predictions


def _predict(state: Singles) -> tuple[Singles, Singles]:
    """The predictions, and the history around the mean."""
    mean = state[:, _MEAN]
    history = state[:, _HISTORY] - mean[:, np.newaxis]
    return mean + np.einsum("ij,ij->i", history, state[:, _WEIGHTS]), history
