"""Configuration: all faults at once, each with file, path, value and what is allowed."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field, model_validator

from contracts.configuration import Settings, check_settings, format_path, parse_settings
from contracts.errors import ConfigurationError, ContractError, Fault


class Bus(Settings):
    bus_id: str = Field(pattern=r"^[a-z]+$")
    baud_rate: Literal[9600, 19200] = 9600
    timeout_s: float = Field(default=1.0, gt=0.0)

    @model_validator(mode="after")
    def _check(self) -> Bus:
        if self.bus_id == "late" and self.timeout_s < 1.0:
            raise ValueError("A late bus needs a timeout of 1 s or more")
        return self


class Quiet(Settings):
    number: int = 0

    @model_validator(mode="after")
    def _check(self) -> Quiet:
        if self.number == 13:
            raise ValueError
        return self


class Agent(Settings):
    gateway_id: str
    bus: tuple[Bus, ...] = ()


SOUND = """
gateway_id = "gw-1"
[[bus]]
bus_id = "rtu"
baud_rate = 19200
"""
BROKEN = """
gateway = "gw-1"
[[bus]]
bus_id = "rtu"
baud_rate = 9601
[[bus]]
bus_id = "RTU 2"
timeout_s = -1
"""


def faults_of(model, text):
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(model, text, "agent.toml")
    return caught.value


def test_a_sound_document_becomes_a_frozen_model():
    agent = parse_settings(Agent, SOUND, "agent.toml")
    assert agent == Agent(gateway_id="gw-1", bus=(Bus(bus_id="rtu", baud_rate=19200),))
    with pytest.raises(ValueError, match="frozen"):
        agent.gateway_id = "gw-2"


def test_all_faults_are_given_at_once_with_path_and_value():
    error = faults_of(Agent, BROKEN)
    assert sorted(str(error).splitlines()) == [
        "agent.toml: $.bus[0].baud_rate: 9601: input should be 9600 or 19200",
        "agent.toml: $.bus[1].bus_id: 'RTU 2': string should match pattern '^[a-z]+$'",
        "agent.toml: $.bus[1].timeout_s: -1: input should be greater than 0",
        "agent.toml: $.gateway: unknown key",
        "agent.toml: $.gateway_id: is missing",
    ]
    assert len(error.faults) == 5
    assert isinstance(error, ContractError)


def test_a_fault_of_several_keys_together_is_told_without_the_whole_table():
    error = faults_of(Agent, 'gateway_id = "gw"\n[[bus]]\nbus_id = "late"\ntimeout_s = 0.5\n')
    assert error.faults == [Fault("$.bus[0]", "a late bus needs a timeout of 1 s or more")]


def test_a_check_that_says_nothing_is_still_a_fault():
    assert len(faults_of(Quiet, "number = 13").faults) == 1


@pytest.mark.parametrize("text", ["gateway_id = ", "= 1", "[bus", 'a = "\x00"', "a = 1\na = 2", "a = " + "[" * 5_000])
def test_a_document_that_is_not_toml_is_one_fault_at_its_root(text):
    (fault,) = faults_of(Agent, text).faults
    assert fault.path == "$"
    assert fault.message.startswith("not TOML: ")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_a_fault(number):
    (fault,) = faults_of(Agent, f'gateway_id = "gw"\n[[bus]]\nbus_id = "rtu"\ntimeout_s = {number}\n').faults
    assert fault.path == "$.bus[0].timeout_s"


def test_an_unknown_key_is_a_fault_at_any_depth():
    (fault,) = faults_of(Agent, SOUND + "parity = 1\n").faults
    assert str(fault) == "$.bus[0].parity: unknown key"


def test_a_part_of_a_document_is_checked_the_same_way():
    with pytest.raises(ConfigurationError, match=r"part: \$\.bus_id: is missing"):
        check_settings(Bus, {}, "part")
    with pytest.raises(ConfigurationError, match=r"part: \$: "):
        check_settings(Bus, 7, "part")


@pytest.mark.parametrize(
    ("location", "path"), [((), "$"), (("bus", 3, "baud_rate"), "$.bus[3].baud_rate"), ((0, 1), "$[0][1]")]
)
def test_a_path_is_written_like_json_path(location, path):
    assert format_path(location) == path
