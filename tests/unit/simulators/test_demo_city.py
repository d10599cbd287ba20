"""The demonstration city: one plan, three kinds of file that agree, and the other programs accept them."""

from __future__ import annotations

import hashlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alarm import ConditionDefinition
from contracts.fleet import Channel, District, FleetSnapshot, Gateway, Node, Site
from contracts.quantity import QUANTITIES
from simulators.configuration import parse_configuration
from simulators.demo_city import DemoOptions, build_demo
from simulators.read_instruments import read_instruments
from simulators.toml_text import format_toml

AGENTS = ("gw-harbour.toml", "gw-riverside.toml")


@pytest.fixture(scope="module")
def demo() -> dict[str, str]:
    return build_demo(DemoOptions(password_files={"gw-harbour": "secrets/gw-harbour"}))


def _snapshot(text: str) -> FleetSnapshot:
    fleet = tomllib.loads(text)
    channels, conditions = [], []
    for node in fleet["node"]:
        for row in node.pop("channel"):
            channel_id = len(channels) + 1
            channels.append(Channel(channel_id=channel_id, node_id=node["node_id"], quantity=row["quantity"]))
            conditions += [ConditionDefinition(channel_id=channel_id, **one) for one in row.get("condition", [])]
    return FleetSnapshot(
        revision=1,
        districts=[District(**row) for row in fleet["district"]],
        sites=[Site(**row) for row in fleet["site"]],
        gateways=[Gateway(**row) for row in fleet["gateway"]],
        nodes=[Node(**row) for row in fleet["node"]],
        channels=channels,
        conditions=conditions,
    )


def test_the_fleet_fits_the_contracts_and_has_about_200_nodes_on_2_gateways(demo):
    fleet = _snapshot(demo["fleet.toml"])
    assert len(fleet.gateways) == 2
    assert len(fleet.nodes) == 203
    assert len({condition.condition_id for condition in fleet.conditions}) == len(fleet.conditions)
    quantity_of = {channel.channel_id: QUANTITIES[channel.quantity] for channel in fleet.channels}
    for condition in fleet.conditions:
        assert quantity_of[condition.channel_id].is_plausible(condition.set_point), condition.condition_id


def test_methane_alarms_orange_at_10_and_red_at_25_without_delay(demo):
    fleet = _snapshot(demo["fleet.toml"])
    methane = {row.channel_id for row in fleet.channels if row.quantity == "methane_lel"}
    rows = {
        (row.set_point, row.colour.value, row.priority, row.on_delay_s)
        for row in fleet.conditions
        if row.channel_id in methane
    }
    assert len(methane) == 70
    assert rows == {(10.0, "orange", 2, 0.0), (25.0, "red", 1, 0.0)}


def test_field_agents_and_fleet_name_the_same_nodes_on_the_same_buses(demo):
    field = parse_configuration(demo["field.toml"], "field.toml", read_instruments())
    in_field = {(bus.bus_id, node.node_id, node.instrument) for bus in field.bus for node in bus.node}
    agents = [tomllib.loads(demo[name]) for name in AGENTS]
    at_agents = {
        (bus["bus_id"], node["node_id"], node["profile"]) for a in agents for bus in a["bus"] for node in bus["node"]
    }
    in_fleet = {(row.bus_id, row.node_id) for row in _snapshot(demo["fleet.toml"]).nodes}
    assert in_field == at_agents
    assert {row[:2] for row in in_field} == in_fleet


def test_each_strain_gauge_is_read_with_the_calibration_that_it_was_built_with(demo):
    field = parse_configuration(demo["field.toml"], "field.toml", read_instruments())
    built = {node.node_id: node for bus in field.bus for node in bus.node if "strain" in node.signal}
    read = {
        node["node_id"]: node["calibration"]["strain"]
        for bus in tomllib.loads(demo["gw-riverside.toml"])["bus"]
        for node in bus["node"]
        if "calibration" in node
    }
    assert len(built) == 48
    assert len({row["zero_frequency_hz"] for row in read.values()}) > 40, "each gauge has its own sheet"
    for node_id, node in built.items():
        assert read[node_id]["zero_frequency_hz"] == node.vibrating_wire.zero_frequency_hz
        assert read[node_id]["gauge_factor"] == node.vibrating_wire.gauge_factor


def test_the_scenario_is_the_one_that_make_run_announces(demo):
    field = parse_configuration(demo["field.toml"], "field.toml", read_instruments())
    (leak,) = field.event
    assert (leak.kind, leak.at_s, leak.peak) == ("gas_leak", 30.0, 45.0)
    assert {(one.kind.value, one.at_s) for one in field.fault} >= {("no_answer", 60.0), ("crc_error", 90.0)}
    quiet = build_demo(DemoOptions(has_scenario=False))["field.toml"]
    assert not parse_configuration(quiet, "field.toml", read_instruments()).event


def test_the_same_options_give_the_same_files_to_the_last_byte(demo):
    again = build_demo(DemoOptions(password_files={"gw-harbour": "secrets/gw-harbour"}))
    assert again == demo
    assert build_demo(DemoOptions(seed=5))["fleet.toml"] != demo["fleet.toml"]
    digest = hashlib.sha256(demo["fleet.toml"].encode()).hexdigest()[:12]
    assert digest == "8ffd509d6f8c", "the fleet changed: channel ids and docs refer to it; put the new digest here"


def test_options_reach_the_agents(demo):
    harbour, riverside = (tomllib.loads(demo[name]) for name in AGENTS)
    assert harbour["mqtt"]["username"] == "gw-harbour"
    assert harbour["mqtt"]["password_file"] == "secrets/gw-harbour"
    assert "username" not in riverside["mqtt"]


SCALARS = st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
TABLES = st.recursive(
    st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3), max_size=4),
    lambda inner: st.dictionaries(st.text(), inner | st.lists(inner, min_size=1, max_size=3), max_size=3),
    max_leaves=8,
)


@given(TABLES)
def test_written_toml_reads_back_as_it_was(document):
    assert tomllib.loads(format_toml(document, "a comment\nof two lines")) == document
