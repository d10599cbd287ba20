"""Scores of observations as columns beside a record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import ConditionInput
from contracts.record import Floats
from contracts.score import OTHER_SCORES

OtherScores = Mapping[ConditionInput, Floats]
"""Columns of one length by score: 0 to 1, NaN where the channel is not scored by it, is bad or in warm-up. A score
that no channel has is not in it."""

_PLACE: Final[Mapping[ConditionInput, int]] = {kind: place for place, kind in enumerate(OTHER_SCORES)}


def select_scores(scores: OtherScores, which: slice | NDArray[Any]) -> dict[ConditionInput, Floats]:
    """The scores of some rows: positions, a slice or a mask."""
    return {kind: column[which] for kind, column in scores.items()}


def join_scores(parts: Sequence[tuple[OtherScores, int]]) -> dict[ConditionInput, Floats]:
    """The scores of parts, each with its number of rows, one after another."""
    kinds = {kind for scores, _ in parts for kind in scores}
    return {kind: _join(kind, parts) for kind in OTHER_SCORES if kind in kinds}


def drop_empty_scores(scores: OtherScores) -> dict[ConditionInput, Floats]:
    """Without columns in which there is no score; in the order of `OTHER_SCORES`, whoever made them first."""
    return {kind: scores[kind] for kind in sorted(scores, key=_PLACE.__getitem__) if _has_score(scores[kind])}


def _has_score(column: Floats) -> bool:
    """Mostly the first row says it."""
    if len(column) == 0:
        return False
    return not (math.isnan(column[0]) and np.isnan(np.fmax.reduce(column)))


def _join(kind: ConditionInput, parts: Sequence[tuple[OtherScores, int]]) -> Floats:
    joined: Floats = np.concatenate(
        [scores[kind] if kind in scores else np.full(count, np.nan) for scores, count in parts]
    )
    return joined
