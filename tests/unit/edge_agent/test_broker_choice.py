"""Which broker is next, and with which version of MQTT."""

import pytest

from edge_agent.uplink.broker_choice import BrokerChoice, EndKind, after_end, first_choice


def walk(kinds, broker_count=1, protocol="auto"):
    """(broker, protocol) of the first choice and after each end."""
    choice = first_choice(protocol)
    seen = [(choice.broker, choice.protocol)]
    for kind in kinds:
        choice = after_end(choice, kind, broker_count, protocol)
        seen.append((choice.broker, choice.protocol))
    return seen


def test_a_broker_that_says_that_it_knows_no_5_is_asked_again_in_3_1_1_and_then_stays_so():
    kinds = [EndKind.VERSION_REFUSED, EndKind.LOST, EndKind.LOST]
    assert walk(kinds) == [(0, "5"), (0, "3.1.1"), (0, "3.1.1"), (0, "3.1.1")]


def test_a_broker_that_only_closed_early_is_asked_again_in_5_after_each_connection_that_stood():
    kinds = [EndKind.CLOSED_EARLY, EndKind.LOST, EndKind.CLOSED_EARLY]
    assert [protocol for _, protocol in walk(kinds)] == ["5", "3.1.1", "5", "3.1.1"]


def test_a_broker_that_closes_early_in_both_versions_is_tried_in_turn():
    assert [protocol for _, protocol in walk([EndKind.CLOSED_EARLY] * 4)] == ["5", "3.1.1", "5", "3.1.1", "5"]


@pytest.mark.parametrize("kind", [EndKind.UNREACHABLE, EndKind.REFUSED, EndKind.LOST])
def test_nothing_else_changes_the_version(kind):
    assert walk([kind] * 3) == [(0, "5")] * 4


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("kind", list(EndKind))
def test_a_version_that_is_set_is_kept(protocol, kind):
    assert walk([kind] * 3, protocol=protocol) == [(0, protocol)] * 4


def test_brokers_are_tried_in_turn_each_with_both_versions():
    assert walk([EndKind.UNREACHABLE, EndKind.LOST, EndKind.REFUSED], 3) == [(0, "5"), (1, "5"), (2, "5"), (0, "5")]
    assert walk([EndKind.VERSION_REFUSED, EndKind.CLOSED_EARLY], 2) == [(0, "5"), (0, "3.1.1"), (1, "5")]


def test_a_broker_that_was_upgraded_is_found_again_after_it_closed_early():
    choice = BrokerChoice(protocol="3.1.1", has_changed_version=True, is_version_told=True)
    choice = after_end(choice, EndKind.LOST, 1, "auto")
    assert after_end(choice, EndKind.CLOSED_EARLY, 1, "auto").protocol == "5"
