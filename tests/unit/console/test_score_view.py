"""Scores of a channel in words."""

import pytest

from console.score_view import UNUSUAL_FROM, describe_highest, describe_scores, list_drawn
from console.texts import Language, Wording
from console.view_model import FleetArrived, LatestArrived, State, step
from contracts.alarm import ConditionInput
from contracts.fleet import FleetSnapshot
from contracts.query import ChannelLatest, LatestPage
from contracts.score import OTHER_SCORES, STANDARD

EN = Wording(Language.EN)
NOVELTY, RATE, GROUP = (
    ConditionInput.SCORE_NOVELTY, ConditionInput.SCORE_RATE_OF_CHANGE, ConditionInput.SCORE_GROUP_DISTANCE
)  # fmt: skip


def fleet(nodes=1, scores=None, conditions=()):
    """Nodes of one gas station with a methane channel each; what is said of scores is the first one's."""
    return FleetSnapshot(
        revision=1,
        districts=[{"district_id": "d", "name": "D"}],
        sites=[{"site_id": "s", "district_id": "d", "domain": "gas", "name": "S", "latitude": 0, "longitude": 0}],
        gateways=[{"gateway_id": "g", "district_id": "d", "name": "G"}],
        nodes=[
            {"node_id": f"n-{at}", "gateway_id": "g", "bus_id": "b", "site_id": "s", "model": "m"}
            for at in range(nodes)
        ],
        channels=[
            {"channel_id": at + 1, "node_id": f"n-{at}", "quantity": "methane_lel", "scores": None if at else scores}
            for at in range(nodes)
        ],
        conditions=list(conditions),
    )


def latest(**fields):
    row = {
        "channel_id": 1, "phenomenon_ns": 1, "received_ns": 2, "value": 1.0, "level": "good", "reason": "ok",
        "score_ewma_z": 0.25, "last_good_value": 1.0, "last_good_ns": 1,
    }  # fmt: skip
    return ChannelLatest(**{**row, **fields})


def lines(*rows, **fields):
    state, _ = step(State(), FleetArrived(fleet(**fields), 1))
    state, _ = step(state, LatestArrived(LatestPage(revision=1, channels=list(rows)), is_complete=True, at_ns=1))
    place = state.places[1]
    assert set(list_drawn(state, place)) <= set(place.scores)
    return {line.kind: line for line in describe_scores(state, place, EN)}, list_drawn(state, place)


@pytest.mark.parametrize(
    ("standard", "others", "shown"),
    [
        (0.25, {}, ("0.25", "recent mean", False)),
        (0.25, {NOVELTY: 0.71, RATE: 0.7}, ("0.71", "novelty", True)),
        (0.25, {NOVELTY: 0.24}, ("0.25", "recent mean", False)),
        (0.5, {NOVELTY: 0.5}, ("0.50", "recent mean", False)),
        (None, {RATE: 0.0}, ("0.00", "rate of change", False)),
        (UNUSUAL_FROM, {}, ("0.67", "recent mean", True)),
        (None, {}, ("—", "warming up", False)),
    ],
)
def test_a_row_shows_the_highest_of_all_scores_and_who_says_so(standard, others, shown):
    highest = describe_highest(latest(score_ewma_z=standard, scores=others), EN)
    assert (highest.score, highest.detector, highest.is_unusual) == shown


@pytest.mark.parametrize("fields", [{"level": "bad", "reason": "no_answer"}, {"value": None}])
def test_an_observation_without_a_value_that_counts_has_no_score_whatever_came_with_it(fields):
    highest = describe_highest(latest(scores={NOVELTY: 0.9}, **fields), EN)
    assert (highest.score, highest.detector, highest.is_unusual) == ("—", "", False)


def test_the_panel_has_all_scores_that_the_channel_is_to_have_and_says_why_one_is_missing():
    shown, drawn = lines(latest(scores={NOVELTY: 0.71}))
    assert {kind: line.text for kind, line in shown.items()} == {
        "score_ewma_z": "0.25 (1.0 sigma)",
        "score_novelty": "0.71 (7.3 sigma)",
        "score_rate_of_change": "none yet: warming up",
        "score_group_distance": "none: it takes 3 like channels here, there are 1",
    }
    assert [line.is_unusual for line in shown.values()] == [False, True, False, False]
    assert drawn == (STANDARD, NOVELTY, RATE), "a line that can never come is not in the chart's legend"


def test_a_group_of_three_like_channels_can_have_a_score():
    shown, drawn = lines(latest(), nodes=3)
    assert shown[GROUP].text == "none yet: warming up"
    assert GROUP in drawn


def test_a_channel_that_is_taken_out_of_its_group_leaves_too_few():
    shown, _ = lines(latest(), nodes=3, scores=[])
    assert set(shown) == {STANDARD}
    state, _ = step(State(), FleetArrived(fleet(nodes=3, scores=[]), 1))
    told = {line.kind: line.text for line in describe_scores(state, state.places[2], EN)}
    assert told[GROUP] == "none: it takes 3 like channels here, there are 2"


def test_a_condition_on_the_group_makes_its_channel_a_member():
    asked = {
        "condition_id": "c", "channel_id": 1, "input": "score_group_distance", "set_point": 0.667, "priority": 4,
        "colour": "blue", "title": "T",
    }  # fmt: skip
    shown, _ = lines(latest(), nodes=3, scores=[], conditions=[asked])
    assert shown[GROUP].text == "none yet: warming up"


def test_a_score_that_only_a_condition_asks_for_and_one_that_nobody_expects_are_shown_too():
    asked = {
        "condition_id": "c", "channel_id": 1, "input": "score_flat_line", "set_point": 0.667, "priority": 4,
        "colour": "blue", "title": "T",
    }  # fmt: skip
    forest = ConditionInput.SCORE_GROUP_FOREST
    shown, drawn = lines(latest(scores={forest: 0.6}), scores=[], conditions=[asked])
    assert list(shown) == [STANDARD, ConditionInput.SCORE_FLAT_LINE, forest]
    assert drawn == (STANDARD, ConditionInput.SCORE_FLAT_LINE)


def test_a_bad_reading_has_none_of_its_scores_and_a_silent_channel_none_yet():
    bad, _ = lines(latest(level="bad", reason="no_answer", score_ewma_z=0.9, scores={NOVELTY: 0.9}))
    assert {line.text for kind, line in bad.items() if kind != GROUP} == {"none: the reading is bad"}
    silent, _ = lines()
    assert {line.text for kind, line in silent.items() if kind != GROUP} == {"nothing received yet"}


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.0, "0.00 (0.0 sigma)"),
        (0.5, "0.50 (3.0 sigma)"),
        (0.98, "0.98 (over 100 sigma)"),
        (1.0, "1.00 (over 100 sigma)"),
    ],
)
def test_a_score_is_told_in_sigma_too(score, text):
    assert lines(latest(score_ewma_z=score))[0][STANDARD].text == text


@pytest.mark.parametrize("language", Language)
def test_every_score_has_a_name_of_its_own_in_each_language(language):
    names = {Wording(language).detector(kind) for kind in (STANDARD, *OTHER_SCORES)}
    assert len(names) == len(OTHER_SCORES) + 1
