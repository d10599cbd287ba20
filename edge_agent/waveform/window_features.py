"""Features of the samples of one second. Pure.

    mean           x̄ = Σx / n
    rms            σ = √(Σ(x - x̄)² / n), of the mean-free signal: the vibration without gravity and dead load
    peak           max |x - x̄|: "usually taken as the maximum deviation from the mean value" (ISO 2041, peak value)
    peak_to_peak   max x - min x
    minimum, maximum

In two passes (a rolling sum of squares would lose a vibration of 1 µε on a dead load of 1,000 µε), over the very
numbers that are sent: whoever has the samples computes the same features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import mul
from types import MappingProxyType
from typing import Final, NamedTuple

MEAN: Final = "mean"


class Moments(NamedTuple):
    """What all features are made of."""

    mean: float
    rms: float
    minimum: float
    maximum: float


def moments_of(samples: Sequence[float]) -> Moments | None:
    """Of the samples that are numbers; None if none is."""
    count = len(samples)
    if not math.isfinite(sum(samples)):
        samples = [sample for sample in samples if math.isfinite(sample)]
        count = len(samples)
    if not count:
        return None
    mean = math.fsum(samples) / count
    deviations = [sample - mean for sample in samples]
    rms = math.sqrt(math.fsum(map(mul, deviations, deviations)) / count)
    return Moments(mean, rms, min(samples), max(samples))


FEATURES: Final[Mapping[str, Callable[[Moments], float]]] = MappingProxyType(
    {
        MEAN: lambda of: of.mean,
        "rms": lambda of: of.rms,
        "peak": lambda of: max(of.maximum - of.mean, of.mean - of.minimum),
        "peak_to_peak": lambda of: of.maximum - of.minimum,
        "minimum": lambda of: of.minimum,
        "maximum": lambda of: of.maximum,
    }
)
"""By name, in the order in which they are told."""


def feature_quantity(quantity: str, feature: str) -> str:
    """The quantity of a feature: `strain_rms`; the mean is the quantity itself."""
    return quantity if feature == MEAN else f"{quantity}_{feature}"
