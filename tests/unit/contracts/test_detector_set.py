"""Which scores a channel has: its domain's, or its own."""

from __future__ import annotations

import pytest

from contracts.detector_set import (
    DEFAULT_SCORES,
    GROUP_CHANNELS_MAX,
    GROUP_CHANNELS_MIN,
    GROUP_PERIOD_S,
    scores_of,
)
from contracts.fleet import Channel, Domain
from contracts.quantity import QUANTITIES
from contracts.score import GROUP_SCORES, OTHER_SCORES, STANDARD

NOT_MEASURED = {
    name for name in QUANTITIES if "cycles" in name or QUANTITIES[name].unit == "{count}"
} | {
    "fire_alarm", "fault", "supervisory_alarm", "activation", "activation_feedback", "mains_failure",
    "battery_failure", "uplink_failure", "loop_failure",
}  # fmt: skip


def channel_of(quantity, scores=None):
    return Channel(channel_id=1, node_id="node", quantity=quantity, scores=scores)


@pytest.mark.parametrize("domain", Domain)
def test_every_domain_has_a_default_set_of_scores_that_there_are(domain):
    kinds = DEFAULT_SCORES[domain]
    assert kinds
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) <= set(OTHER_SCORES), "the standard score stands on every channel and in no set"


@pytest.mark.parametrize("domain", Domain)
def test_a_channel_has_the_set_of_its_domain_unless_it_is_a_state_or_a_counter(domain):
    found = {quantity: scores_of(channel_of(quantity), domain) for quantity in QUANTITIES}
    assert found == {quantity: () if quantity in NOT_MEASURED else DEFAULT_SCORES[domain] for quantity in QUANTITIES}


@pytest.mark.parametrize("quantity", ["strain", "fire_alarm", "strain_cycles_01"])
@pytest.mark.parametrize("own", [(), (OTHER_SCORES[0],), GROUP_SCORES, OTHER_SCORES])
def test_what_the_registry_says_of_a_channel_replaces_the_default(quantity, own):
    assert scores_of(channel_of(quantity, own), Domain.BRIDGE) == own


def test_the_standard_score_is_in_no_set_even_if_it_is_named():
    assert scores_of(channel_of("strain", (STANDARD, *GROUP_SCORES)), Domain.BRIDGE) == GROUP_SCORES


def test_every_domain_has_a_period_of_its_groups():
    assert set(GROUP_PERIOD_S) == set(Domain)
    assert min(GROUP_PERIOD_S.values()) > 0
    assert 2 < GROUP_CHANNELS_MIN < GROUP_CHANNELS_MAX
