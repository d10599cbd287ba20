"""Which scores there are: named as in `ConditionInput`, in columns of Kafka and Parquet and in fields of InfluxDB.

`score_ewma_z` is on every observation; another one is there if the channel is scored by it (`contracts.detector_set`).
What a score means: docs/scores.md.
"""

from __future__ import annotations

from typing import Final

from contracts.alarm import ConditionInput

STANDARD: Final = ConditionInput.SCORE_EWMA_Z
"""The score of every channel."""
GROUP_SCORES: Final = (ConditionInput.SCORE_GROUP_DISTANCE, ConditionInput.SCORE_GROUP_FOREST)
"""Scores of a channel's group: what the last closed frame of the group had, until the next is closed."""
OTHER_SCORES: Final = tuple(kind for kind in ConditionInput if kind not in (ConditionInput.VALUE, STANDARD))
"""All but the standard one, in the order of columns."""
