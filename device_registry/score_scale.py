"""Score conditions of registries before version 2, on today's scale. Pure.

Until then a score was a signed number of standard deviations z without end; now it is s = |z| / (|z| + 3), from 0 to 1,
for both directions (docs/scores.md). A set-point that stayed at 8 would be reached by nothing: a silent alarm.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.condition import Direction
from device_registry.audit import Action, Kind
from device_registry.import_plan import Change, format_difference

_SIGMA_AT_HALF: Final = 3.0
"""The distance whose score is 0.5."""


def rescale_scores(conditions: Iterable[ConditionDefinition]) -> Iterator[Change]:
    """What becomes of those that look at a score. One that told of a fall tells of both directions."""
    for before in conditions:
        if before.input is ConditionInput.VALUE:
            continue
        highest = abs(before.set_point)
        set_point, end = _score_of(highest), _score_of(max(highest - before.deadband, 0.0))
        after = before.model_copy(
            update={"set_point": set_point, "deadband": round(set_point - end, 3), "direction": Direction.ABOVE}
        )
        yield Change(Action.CHANGED, Kind.CONDITION, after.condition_id, after, format_difference(before, after))


def _score_of(sigma: float) -> float:
    return round(sigma / (sigma + _SIGMA_AT_HALF), 3)
