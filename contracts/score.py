"""Which scores there are: named as in `ConditionInput`, in columns of Kafka and Parquet and in fields of InfluxDB.

`score_ewma_z` is on every observation; another one is there if the channel is scored by it (`contracts.detector_set`).
What a score means: docs/scores.md.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Final

from pydantic import BeforeValidator

from contracts.alarm import ConditionInput

STANDARD: Final = ConditionInput.SCORE_EWMA_Z
"""The score of every channel."""
GROUP_SCORES: Final = (ConditionInput.SCORE_GROUP_DISTANCE, ConditionInput.SCORE_GROUP_FOREST)
"""Scores of a channel's group: what the last closed frame of the group had, until the next is closed."""
OTHER_SCORES: Final = tuple(kind for kind in ConditionInput if kind not in (ConditionInput.VALUE, STANDARD))
"""All but the standard one, in the order of columns."""
SCORES: Final = (STANDARD, *OTHER_SCORES)
_PREFIX: Final = "score_"
_DETECTORS: Final = {kind.value.removeprefix(_PREFIX): kind for kind in SCORES}


def check_score_name(name: object) -> object:
    """Gives a score's name back.

    Raises:
        ValueError: there is no such score; with those that there are, and the one that may be meant.
    """
    if name in _DETECTORS.values():
        return name
    likely = get_close_matches(str(name).lower().removeprefix(_PREFIX), _DETECTORS, n=1)
    hint = f"; did you mean {_DETECTORS[likely[0]].value}?" if likely else ""
    raise ValueError(f"not one of {', '.join(_DETECTORS.values())}{hint}")


ScoreName = Annotated[ConditionInput, BeforeValidator(check_score_name)]
"""A `ConditionInput` that is a score."""
