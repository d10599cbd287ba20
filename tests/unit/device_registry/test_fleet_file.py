"""The fleet file: the example is sound, and every fault is named at once with its place."""

from __future__ import annotations

import re

import pytest

from contracts.errors import ConfigurationError
from device_registry.fleet_file import parse_fleet_file


def faults_of(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_fleet_file(text, "fleet.toml")
    return {fault.path: fault.message for fault in caught.value.faults}


def test_the_shipped_example_is_sound(example):
    fleet = parse_fleet_file(example, "example_fleet.toml")
    (node,) = fleet.node
    (channel,) = node.channel
    assert [condition.condition_id for condition in channel.condition] == [
        "gas-1-methane-high",
        "gas-1-methane-unusual",
    ]
    assert channel.condition[0].deadband == 2.0


@pytest.mark.parametrize(
    ("before", "after", "path", "message"),
    [
        ('quantity = "methane_lel"', 'quantity = "methan"', "$.node[0].channel[0].quantity", "not one of methane_lel"),
        ('district_id = "north"\nname', 'district_id = "North"\nname', "$.district[0].district_id", "identifier"),
        ('model = "hon', 'modell = "hon', "$.node[0].modell", "unknown key"),
        ('domain = "gas"', 'domain = "sea"', "$.site[0].domain", "should be 'gas', 'bridge'"),
        ('gateway_id = "gw-north-1"\nbus', 'gateway_id = "gw-2"\nbus', "$.node[0].gateway_id", "no such gateway"),
        ('site_id = "gas-station-1"\nmodel', 'site_id = "x"\nmodel', "$.node[0].site_id", "no such site"),
        (
            'site_id = "gas-station-1"\ndistrict_id = "north"',
            'site_id = "gas-station-1"\ndistrict_id = "south"',
            "$.site[0].district_id",
            "no such district",
        ),
        (
            'condition_id = "gas-1-methane-unusual"',
            'condition_id = "gas-1-methane-high"',
            "$.node[0].channel[0].condition[1].condition_id",
            "stands already at $.node[0].channel[0].condition[0]",
        ),
        (
            "set_point = 25.0",
            "set_point = 250.0",
            "$.node[0].channel[0].condition[0].set_point",
            "outside of the plausible range -5 to 105 %{LEL} of methane_lel",
        ),
        (
            "set_point = 25.0",
            "channel_id = 3\nset_point = 25.0",
            "$.node[0].channel[0].condition[0]",
            "channel_id is given by the registry",
        ),
        ("set_point = 25.0", "set_point = nan", "$.node[0].channel[0].condition[0].set_point", "finite"),
        ("deadband = 2.0", "deadband = 40.0", "$.node[0].channel[0].condition[0].deadband", "never return"),
        ("priority = 4", "priority = 5", "$.node[0].channel[0].condition[1].priority", "less than or equal to 4"),
        ("latitude = 39.9088", "latitude = 99.0", "$.node[0].latitude", "less than or equal to 90"),
    ],
)
def test_a_fault_is_named_with_its_place(example, before, after, path, message):
    assert before in example
    faults = faults_of(example.replace(before, after, 1))
    assert path in faults, faults
    assert message in faults[path]


@pytest.mark.parametrize(
    ("set_point", "more", "faulty"),
    [
        (0.5, "", None), (0.999, "", None), (0.0, "", "set_point"), (1.0, "", "set_point"), (8.0, "", "set_point"),
        (-0.5, "", "set_point"), (0.5, 'direction = "below"', "direction"), (0.5, "deadband = 0.5", "deadband"),
        (0.5, "deadband = 0.4", None),
    ],
)  # fmt: skip
def test_the_set_point_of_a_score_is_between_0_and_1_whatever_the_quantity_can_be(make_fleet, set_point, more, faulty):
    text = make_fleet({"gas-1": ["methane_lel"]}, set_point=set_point) + f'input = "score_ewma_z"\n{more}\n'
    path = "$.node[0].channel[0].condition[0]."
    assert list(faults_of(text) if faulty else []) == ([path + faulty] if faulty else [])
    if faulty is None:
        parse_fleet_file(text, "fleet.toml")


def test_the_example_says_how_a_channel_gets_scores_of_its_own(example):
    (written,) = re.findall(r"^# (scores = \[.*?\])", example, re.MULTILINE)
    (node,) = parse_fleet_file(example.replace("# scores", "scores"), "example_fleet.toml").node
    assert node.channel[0].scores
    assert [f'"{kind}"' for kind in node.channel[0].scores] == re.findall(r'"\w+"', written)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("novelty", "; did you mean score_novelty?"),
        ("score_novlety", "; did you mean score_novelty?"),
        ("Score_Flat_Line", "; did you mean score_flat_line?"),
        ("group", "score_group_forest"),
        ("value", "score_group_forest"),
        ("zzzz", "score_group_forest"),
        (7, "score_group_forest"),
    ],
)
def test_a_score_that_there_is_not_is_named_with_its_place_and_what_may_be_meant(make_fleet, name, hint):
    text = make_fleet({"gas-1": ["methane_lel"]}, scores={"methane_lel": ["score_residual", name]})
    ((path, message),) = faults_of(text).items()
    assert path == "$.node[0].channel[0].scores[1]"
    assert message.startswith(f"{name!r}: not one of score_ewma_z, score_robust_z, ")
    assert message.endswith(hint), "without a likely one the list is the end"


def test_faults_of_form_and_of_meaning_are_named_together(make_fleet):
    text = make_fleet({"gas-1": ["methane_lel", "methane_lel"]}, set_point=500) + "surprise = 1\n"
    text += '[[node]]\nnode_id = "gas-1"\ngateway_id = "gone"\n'
    assert set(faults_of(text)) == {
        "$.node[0].channel[0].condition[0].set_point",
        "$.node[0].channel[1].quantity",
        "$.node[0].channel[1].condition[0].condition_id",
        "$.node[0].channel[1].condition[0].set_point",
        "$.node[0].channel[1].condition[0].surprise",
        "$.node[1].node_id",
        "$.node[1].gateway_id",
        "$.node[1].bus_id",
        "$.node[1].site_id",
        "$.node[1].model",
        "$.node[1].channel",
    }


@pytest.mark.parametrize(
    "text",
    [
        "node = 3",
        "node = [1, 2]",
        '[[node]]\nnode_id = 7\nchannel = "x"',
        "[[node]]\nnode_id = ['a']\ngateway_id = {a = 1}",
        "[node]\na = 1",
        "[[node]]\n[[node.channel]]\nquantity = ['a']\n[[node.channel.condition]]\nset_point = 'high'",
        f"[[node]]\n[[node.channel]]\nquantity = 'level'\n[[node.channel.condition]]\nset_point = 1{'0' * 400}",
        f"[[node]]\n[[node.channel]]\nquantity = 'level'\n[[node.channel.condition]]\ndeadband = 1{'0' * 400}",
        "[[node]]\n[[node.channel]]\nquantity = 'level'\n[[node.channel.condition]]\nset_point = 1\ninput = ['x']",
        "[[node]]\n[[node.channel]]\nquantity = 'level'\nscores = 'score_novelty'",
        "[[node]]\n[[node.channel]]\nquantity = 'level'\nscores = [['score_novelty'], {a = 1}]",
    ],
)
def test_a_file_of_a_wrong_form_is_faults_and_never_a_crash(text):
    assert faults_of(text)


def test_a_file_that_is_not_toml_is_one_fault():
    assert list(faults_of("[[node")) == ["$"]
