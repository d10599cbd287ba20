"""Rules in words and as the registry's definitions; each fault says what is expected."""

from __future__ import annotations

import json

import pytest

from contracts.alarm import ConditionInput
from contracts.condition import Direction
from stream_processor.errors import TrialError
from stream_processor.trial.rule_text import define_all, parse_definitions, parse_rule

DEFINITION = {
    "condition_id": "c-1",
    "channel_id": 3,
    "set_point": 25.0,
    "deadband": 2.0,
    "priority": 1,
    "colour": "red",
    "title": "Methane above 25 %LEL",
}


def test_all_words_of_a_rule_are_taken():
    rule = parse_rule('"Flow rate" below -3.5 deadband 0.5 on 10s off 1.5min')
    assert (rule.what, rule.input, rule.direction) == ("Flow rate", ConditionInput.VALUE, Direction.BELOW)
    assert (rule.set_point, rule.deadband, rule.on_delay_s, rule.off_delay_s) == (-3.5, 0.5, 10.0, 90.0)


def test_a_rule_on_a_score_is_defined_for_each_channel_of_its_kind():
    rules = [parse_rule("score_ewma_z of strain above 0.667 on 1h"), parse_rule("tilt above 2")]
    definitions = list(define_all(rules, [(1, "strain"), (2, "tilt"), (7, "strain")]))
    assert [(each.condition_id, each.channel_id, each.input) for each in definitions] == [
        ("rule-1.1", 1, "score_ewma_z"),
        ("rule-1.7", 7, "score_ewma_z"),
        ("rule-2.2", 2, "value"),
    ]
    assert definitions[0].on_delay_s == 3_600.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not: "),
        ("methane_lel above", "is not: "),
        ("methane_lel above 25 deadband", "is not: "),
        ("methane_lel over 25", "'over' is not one of above, below"),
        ("methane_lel above x", "'x' is no number"),
        ("methane_lel above 25 for 10s", "'for' is not one of deadband, on, off"),
        ("methane_lel above 25 on 1s on 2s", "'on' is not one of"),
        ("methane_lel above 25 on 1day", "'1day' is no duration"),
        ("fright of methane_lel above 0.5", "'fright' is not one of value"),
        ("'methane_lel above 25", "No closing quotation"),
    ],
)
def test_a_fault_of_a_rule_says_what_is_expected(text, words):
    with pytest.raises(TrialError, match=words):
        parse_rule(text)


@pytest.mark.parametrize("text", ["methane_lel above 25 deadband -1", "methane_lel above nan", "a above 1 on 30h"])
def test_what_no_registry_would_take_is_refused(text):
    rule = parse_rule(text)
    with pytest.raises(TrialError, match="rule"):
        rule.define(1, 1)


def test_definitions_are_read_from_a_list_and_from_a_snapshot():
    for document in ([DEFINITION], {"revision": 3, "conditions": [DEFINITION]}):
        (definition,) = parse_definitions("f.json", json.dumps(document))
        assert (definition.condition_id, definition.set_point) == ("c-1", 25.0)


@pytest.mark.parametrize("text", ["{", "{}", "[1]", json.dumps([{**DEFINITION, "colour": "pink"}])])
def test_a_faulty_definition_names_its_file_and_place(text):
    with pytest.raises(TrialError, match=r"^f\.json: "):
        parse_definitions("f.json", text)
