"""The fleet snapshot: every double name and every dangling reference is named, all at once."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contracts.fleet import Channel, Domain, FleetSnapshot, LifecycleState, Node, Site, find_reference_faults

FLEET = {
    "revision": 3,
    "districts": [{"district_id": "north", "name": "North"}],
    "sites": [
        {
            "site_id": "station-1",
            "district_id": "north",
            "domain": "gas",
            "name": "Gas station 1",
            "latitude": 31.2,
            "longitude": 121.5,
        }
    ],
    "gateways": [{"gateway_id": "gw-1", "district_id": "north", "name": "Gateway 1"}],
    "nodes": [{"node_id": "gas-1", "gateway_id": "gw-1", "bus_id": "rtu-1", "site_id": "station-1", "model": "x"}],
    "channels": [{"channel_id": 1, "node_id": "gas-1", "quantity": "methane_lel"}],
    "conditions": [
        {
            "condition_id": "gas-1-high",
            "channel_id": 1,
            "set_point": 25.0,
            "priority": 1,
            "colour": "red",
            "title": "Methane above 25 %LEL",
        }
    ],
}
KEYS = {
    "districts": "district",
    "sites": "site",
    "gateways": "gateway",
    "nodes": "node",
    "channels": "channel",
    "conditions": "condition",
}


def changed(table, row):
    """The fleet with the first row of a table changed."""
    return FLEET | {table: [FLEET[table][0] | row]}


def unchecked(fleet):
    """The same fleet without the check of its references, to look at the faults themselves."""
    checked = {
        table: [FleetSnapshot.model_fields[table].annotation.__args__[0].model_validate(row) for row in fleet[table]]
        for table in KEYS
    }
    return FleetSnapshot.model_construct(revision=fleet["revision"], **checked)


def test_a_sound_fleet_is_read_and_travels_through_json():
    fleet = FleetSnapshot.model_validate(FLEET)
    assert list(find_reference_faults(fleet)) == []
    assert FleetSnapshot.model_validate_json(fleet.model_dump_json()) == fleet
    assert fleet.nodes[0].state is LifecycleState.ACTIVE


def test_an_empty_fleet_is_sound():
    assert FleetSnapshot(revision=0).channels == []


@pytest.mark.parametrize(
    ("table", "row", "fault"),
    [
        ("sites", {"district_id": "south"}, "site station-1: there is no district 'south'"),
        ("gateways", {"district_id": "south"}, "gateway gw-1: there is no district 'south'"),
        ("nodes", {"gateway_id": "gw-9"}, "node gas-1: there is no gateway 'gw-9'"),
        ("nodes", {"site_id": "station-9"}, "node gas-1: there is no site 'station-9'"),
        ("channels", {"node_id": "gas-9"}, "channel 1: there is no node 'gas-9'"),
        ("conditions", {"channel_id": 9}, "condition gas-1-high: there is no channel 9"),
    ],
)
def test_a_reference_to_nothing_is_named_with_its_owner(table, row, fault):
    assert list(find_reference_faults(unchecked(changed(table, row)))) == [fault]
    with pytest.raises(ValidationError, match=fault):
        FleetSnapshot.model_validate(changed(table, row))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ([], ()),
        (["score_novelty", "score_flat_line", "score_novelty"], ("score_flat_line", "score_novelty")),
        (["score_ewma_z"], ()),
        (["score_group_forest"], ("score_group_forest",)),
    ],
)
def test_the_scores_of_a_channel_are_kept_each_once_in_one_order_without_the_standard_one(given, kept):
    channel = Channel.model_validate(FLEET["channels"][0] | {"scores": given})
    assert channel.scores == kept
    assert Channel.model_validate_json(channel.model_dump_json()) == channel


@pytest.mark.parametrize("table", KEYS)
def test_a_name_that_stands_twice_is_named_with_how_often(table):
    (row,) = FLEET[table]
    key = row[f"{KEYS[table]}_id"]
    faults = list(find_reference_faults(unchecked(FLEET | {table: [row, row, row]})))
    assert f"{KEYS[table]} {key!r} stands 3 times" in faults


def test_a_node_has_a_quantity_once():
    twice = FLEET | {"channels": [FLEET["channels"][0], FLEET["channels"][0] | {"channel_id": 2}]}
    assert list(find_reference_faults(unchecked(twice))) == ["channel ('gas-1', 'methane_lel') stands 2 times"]


def test_all_faults_are_told_at_once():
    broken = changed("nodes", {"gateway_id": "gw-9", "site_id": "station-9"}) | {
        "channels": [FLEET["channels"][0] | {"node_id": "gas-9"}]
    }
    with pytest.raises(ValidationError) as caught:
        FleetSnapshot.model_validate(broken)
    for part in ("gw-9", "station-9", "gas-9"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("model", "row", "key"),
    [
        (Channel, FLEET["channels"][0] | {"quantity": "mood"}, "quantity 'mood' is not one of methane_lel"),
        (Channel, FLEET["channels"][0] | {"channel_id": 0}, "channel_id"),
        (Channel, FLEET["channels"][0] | {"scores": ["value"]}, "not one of score_ewma_z"),
        (Channel, FLEET["channels"][0] | {"scores": ["residual"]}, r"did you mean score_residual\?"),
        (Site, FLEET["sites"][0] | {"latitude": 90.1}, "latitude"),
        (Site, FLEET["sites"][0] | {"longitude": -180.1}, "longitude"),
        (Site, FLEET["sites"][0] | {"latitude": float("nan")}, "latitude"),
        (Site, FLEET["sites"][0] | {"domain": "casino"}, "domain"),
        (Node, FLEET["nodes"][0] | {"state": "asleep"}, "state"),
        (Node, FLEET["nodes"][0] | {"node_id": "Gas 1"}, "node_id"),
        (Node, FLEET["nodes"][0] | {"colour": "red"}, "colour"),
    ],
)
def test_a_record_with_an_impossible_value_is_refused(model, row, key):
    with pytest.raises(ValidationError, match=key):
        model.model_validate(row)


def test_the_domains_are_those_that_the_store_is_partitioned_by():
    assert {domain.value for domain in Domain} == {"gas", "bridge", "chemical", "fire", "forest", "building"}
