"""Group detectors in a trial: all columns of the table are one asset. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from contracts.record import Floats
from stream_processor.detectors.asset_frame import AssetFrames
from stream_processor.detectors.contract import Batch
from stream_processor.detectors.group_contract import Frames, GroupDetector
from stream_processor.detectors.group_forest import GroupForest
from stream_processor.packed_rows import Rows
from stream_processor.trial.detector_trial import Tally
from stream_processor.trial.incident import FLOOR, Incident

_ASSET: Final = 0


class GroupRun:
    """State of the group detectors of one trial."""

    def __init__(
        self,
        detectors: Mapping[str, GroupDetector],
        names: Sequence[str],
        units: Sequence[str],
        period_ns: int,
        threshold: float,
    ) -> None:
        self.period_ns = period_ns
        self.tallies = {name: Tally() for name in detectors}
        self._detectors = detectors
        self._names, self._units = [names], [units]
        self._threshold = threshold
        self._frames = AssetFrames(len(names))
        self._frames.grow(len(names), 1)
        self._frames.set_asset(_ASSET, range(len(names)), period_ns)
        self._number = 0
        for detector in detectors.values():
            detector.grow(1)

    def step(self, readings: Batch, line: Rows, lines: int) -> dict[str, Floats]:
        """Takes live readings; gives the scores of the frames that they closed, by detector and line of the table.

        Args:
            readings: in the order of the table; none is late or bad.
            line: of each reading, within the batch.
            lines: of the batch.
        """
        scores = {name: np.full(lines, np.nan) for name in self._detectors}
        taken = self._frames.take(readings)
        for number, frames in enumerate(taken.closed, start=1):
            if len(frames.rows) == 0:
                continue
            self._number += 1
            closed_by = line[np.argmax(taken.closings == number)]
            for name, detector in self._detectors.items():
                scores[name][closed_by] = self._take(self.tallies[name], detector, frames)
        return scores

    def _take(self, tally: Tally, detector: GroupDetector, frames: Frames) -> float:
        score = float(detector.score(frames)[0])
        if np.isnan(score):
            tally.warm_up += 1
        else:
            tally.scored += 1
            tally.beyond += score >= self._threshold
            tally.highest = max(tally.highest, score)
            if score >= FLOOR and tally.incidents.is_wanted(score, self._number):
                (why,) = detector.explain(frames, self._names, self._units)
                tally.incidents.add(Incident(score, int(frames.times_ns[0]), np.nan, why.text, self._number))
        detector.learn(frames)
        if isinstance(detector, GroupForest):
            refit_on_the_spot(detector)
        return score


def refit_on_the_spot(forest: GroupForest) -> None:
    """Fits what is due on the spot, so that the same table gives the same scores; live it happens in the background."""
    for order in forest.due_refits():
        from stream_processor.detectors.isolation_fit import fit_forest  # noqa: PLC0415  # brings scikit-learn: a second

        forest.take_fitted(fit_forest(order))
