"""Scores of a channel in words: the highest for its row, all of them for its panel.

A channel has several scores side by side, each made by one detector (docs/scores.md); they are never summed. Whoever
looks at ten panels wants the highest and who says so; whoever opens one wants them all, and why one is not there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from console.texts import Wording
from console.view_model import ChannelPlace, State
from contracts.alarm import ConditionInput
from contracts.detector_set import GROUP_CHANNELS_MIN
from contracts.quality import Level
from contracts.query import ChannelLatest
from contracts.score import GROUP_SCORES, STANDARD

NO_SCORE: Final = "—"
UNUSUAL_FROM: Final = 0.667
"""6 sigma: from here on a score stands out in the table. From 3 sigma on, which good readings reach now and then with
one of their detectors or another, so many rows would that nobody looked at them."""
_SIGMA_SHOWN_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class HighestScore:
    """What stands in a channel's row."""

    score: str
    detector: str
    """Who says so, or why nobody says anything; may be empty."""
    is_unusual: bool = False


@dataclass(frozen=True, slots=True)
class ScoreFields:
    """A line of the panel."""

    kind: str
    """As the platform calls it: `score_novelty`."""
    detector: str
    score: float | None
    text: str
    """The score and its distance in sigma, or why there is none."""
    meaning: str
    """What a high score says."""
    is_unusual: bool


def describe_highest(row: ChannelLatest, wording: Wording) -> HighestScore:
    """The highest score of a channel's last observation, and whose it is."""
    if row.level is Level.BAD or row.value is None:
        return HighestScore(NO_SCORE, "")
    found = _present_scores(row)
    if not found:
        return HighestScore(NO_SCORE, wording("score.warm_up_short"))
    kind = max(found, key=found.__getitem__)
    return HighestScore(f"{found[kind]:.2f}", wording.detector(kind), found[kind] >= UNUSUAL_FROM)


def describe_scores(state: State, place: ChannelPlace, wording: Wording) -> list[ScoreFields]:
    """Every score of a channel, the standard one first; those that it should have and has not say why."""
    row = state.latest.get(place.channel.channel_id)
    found = {} if row is None or row.level is Level.BAD else _present_scores(row)
    lines = []
    for kind in dict.fromkeys((*place.scores, *found)):
        score = found.get(kind)
        text = _explain_absence(state, place, kind, wording) if score is None else _format_score(score, wording)
        is_unusual = score is not None and score >= UNUSUAL_FROM
        meaning = wording(f"score_means.{kind.value}")
        lines.append(ScoreFields(kind.value, wording.detector(kind), score, text, meaning, is_unusual))
    return lines


def list_drawn(state: State, place: ChannelPlace) -> tuple[ConditionInput, ...]:
    """The scores that a chart of the channel has a line for: those that can come at all."""
    return tuple(kind for kind in place.scores if kind not in GROUP_SCORES or _is_in_group(state, place))


def _present_scores(row: ChannelLatest) -> dict[ConditionInput, float]:
    standard = {} if row.score_ewma_z is None else {STANDARD: row.score_ewma_z}
    return {**standard, **row.scores}


def _is_in_group(state: State, place: ChannelPlace) -> bool:
    return state.group_sizes.get(place.group, 0) >= GROUP_CHANNELS_MIN


def _explain_absence(state: State, place: ChannelPlace, kind: ConditionInput, wording: Wording) -> str:
    row = state.latest.get(place.channel.channel_id)
    if kind in GROUP_SCORES and not _is_in_group(state, place):
        return wording("score.no_group", least=GROUP_CHANNELS_MIN, count=state.group_sizes.get(place.group, 0))
    if row is None:
        return wording("fleet.no_observation")
    return wording("score.bad" if row.level is Level.BAD else "score.warm_up")


def _format_score(score: float, wording: Wording) -> str:
    sigma = 3 * score / (1 - score) if score < 1 else float("inf")
    if sigma > _SIGMA_SHOWN_MAX:
        return wording("score.sigma_over", score=f"{score:.2f}", sigma=_SIGMA_SHOWN_MAX)
    return wording("score.sigma", score=f"{score:.2f}", sigma=f"{sigma:.1f}")
