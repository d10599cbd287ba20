"""Detectors of river and PySAD, one model a channel, one reading at a time, as their documentation shows.

    python detector_models.py CHANNELS WARM_UP_ROUNDS ROUNDS

Each round is one reading of every channel, in random order. Prints RESULT <title> <ns a reading> <bytes a channel>;
bytes are those of a pickle of the models after the last round, by channel.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from pysad.models import LODA, StandardAbsoluteDeviation
from pysad.models import HalfSpaceTrees as PysadHalfSpaceTrees
from river import anomaly, stats

Step = Callable[[float], float]
LOW, HIGH = 0.0, 20.0


class RiverEwmaZ:
    """EWMA z of river's own statistics."""

    def __init__(self) -> None:
        self.mean, self.variance = stats.EWMean(0.02), stats.EWVar(0.02)

    def step(self, value: float) -> float:
        spread = self.variance.get() ** 0.5
        score = abs(value - self.mean.get()) / spread if spread else 0.0
        self.mean.update(value)
        self.variance.update(value)
        return score


class RiverGaussian:
    def __init__(self) -> None:
        self.model = anomaly.GaussianScorer(grace_period=30)

    def step(self, value: float) -> float:
        score = self.model.score_one(None, value)
        self.model.learn_one(None, value)
        return score


class RiverTrees:
    """Half-space trees with river's own settings; they want to know the limits."""

    def __init__(self) -> None:
        self.model = anomaly.HalfSpaceTrees(limits={"x": (LOW, HIGH)}, seed=1)

    def step(self, value: float) -> float:
        features = {"x": value}
        score = self.model.score_one(features)
        self.model.learn_one(features)
        return score


class PysadDeviation:
    def __init__(self) -> None:
        self.model = StandardAbsoluteDeviation()

    def step(self, value: float) -> float:
        return float(self.model.fit_score_partial(np.array([value])))


class PysadTrees:
    def __init__(self) -> None:
        self.model = PysadHalfSpaceTrees(feature_mins=[LOW], feature_maxes=[HIGH])

    def step(self, value: float) -> float:
        return float(self.model.fit_score_partial(np.array([value])))


class PysadLoda:
    def __init__(self) -> None:
        self.model = LODA()

    def step(self, value: float) -> float:
        return float(self.model.fit_score_partial(np.array([value])))


MODELS = {
    "river EWMean and EWVar": (RiverEwmaZ, 1.0),
    "river GaussianScorer": (RiverGaussian, 1.0),
    "river HalfSpaceTrees": (RiverTrees, 0.1),
    "PySAD StandardAbsoluteDeviation": (PysadDeviation, 0.5),
    "PySAD LODA": (PysadLoda, 0.1),
    "PySAD HalfSpaceTrees": (PysadTrees, 0.05),
}
"""By title: the class, and which share of the channels it gets (the slow ones need not have all)."""


def readings(channels: int, rounds: int, seed: int) -> Iterator[tuple[list[int], list[float]]]:
    chance = np.random.default_rng(seed)
    for _ in range(rounds):
        yield chance.permutation(channels).tolist(), np.round(chance.normal(10.0, 1.0, channels), 1).tolist()


def main() -> None:
    channels, warm_up, rounds = map(int, sys.argv[1:])
    for title, (build, share) in MODELS.items():
        count = max(int(channels * share), 10)
        models = [build() for _ in range(count)]
        for rows, values in readings(count, warm_up, 1):
            for row, value in zip(rows, values, strict=True):
                models[row].step(value)
        best_s = float("inf")
        for rows, values in readings(count, rounds, 2):
            before_s = time.process_time()
            for row, value in zip(rows, values, strict=True):
                models[row].step(value)
            best_s = min(best_s, time.process_time() - before_s)
        size = sum(len(pickle.dumps(each)) for each in models[:10]) / 10
        print(f"RESULT\t{title}\t{best_s / count * 1e9:.0f}\t{size:.0f}", flush=True)


if __name__ == "__main__":
    main()
