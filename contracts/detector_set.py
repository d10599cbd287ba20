"""Which detectors score a channel: what its domain has by default, or what the registry says of the channel.

Every channel is scored by `score_ewma_z`. The others are argued, with what they cost and what they found in the
labelled scenarios, in docs/scores.md ("The default sets"). `channel.scores` in the registry replaces the default of a
channel; a condition on a score has it made for its channel too.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from contracts.alarm import ConditionInput
from contracts.fleet import Channel, Domain
from contracts.quantity import QUANTITIES

_NOVELTY: Final = ConditionInput.SCORE_NOVELTY
_RESIDUAL: Final = ConditionInput.SCORE_RESIDUAL
_RATE: Final = ConditionInput.SCORE_RATE_OF_CHANGE
_FLAT: Final = ConditionInput.SCORE_FLAT_LINE
_HOUR: Final = ConditionInput.SCORE_HOUR_BASELINE
_GROUP: Final = ConditionInput.SCORE_GROUP_DISTANCE

DEFAULT_SCORES: Final[Mapping[Domain, tuple[ConditionInput, ...]]] = MappingProxyType(
    {
        Domain.GAS: (_NOVELTY, _RATE, _GROUP),
        Domain.BRIDGE: (_NOVELTY, _RESIDUAL, _GROUP),
        Domain.CHEMICAL: (_NOVELTY, _RATE, _FLAT, _GROUP),
        Domain.FIRE: (_RATE, _GROUP),
        Domain.FOREST: (_HOUR, _FLAT, _GROUP),
        Domain.BUILDING: (_HOUR, _FLAT, _GROUP),
    }
)
"""Beside `score_ewma_z`."""

GROUP_PERIOD_S: Final[Mapping[Domain, int]] = MappingProxyType(
    {
        Domain.GAS: 60,
        Domain.BRIDGE: 21_600,
        Domain.CHEMICAL: 60,
        Domain.FIRE: 60,
        Domain.FOREST: 21_600,
        Domain.BUILDING: 300,
    }
)
"""Length of a group's frames, in seconds: an event should show within some tens of them."""
GROUP_CHANNELS_MIN: Final = 3
GROUP_CHANNELS_MAX: Final = 64
"""Of one group: channels of one quantity of one site behind one gateway."""


def scores_of(channel: Channel, domain: Domain) -> tuple[ConditionInput, ...]:
    """The scores that a channel has beside `score_ewma_z`, without those that only its conditions ask for.

    States and counters (an alarm contact, cycles, events) have no default: what is unusual of them is their value.
    """
    if channel.scores is not None:
        return channel.scores
    return DEFAULT_SCORES[domain] if QUANTITIES[channel.quantity].is_measured else ()
