"""Declared actuators: what a value becomes on the wire, and what may not be commanded."""

import pytest

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from edge_agent.modbus.modbus_write import ModbusWrite
from edge_agent.outputs.actuator import Actuator, ActuatorSettings


def actuator(**more) -> Actuator:
    table = {"name": "valve", "function_code": 16, "address": 200, "data_type": "u16", "minimum": 0, "maximum": 100}
    return Actuator("rs485", "pump-1", 3, check_settings(ActuatorSettings, {**table, **more}, "test"))


@pytest.mark.parametrize(
    ("table", "value", "expected"),
    [
        ({"function_code": 5, "data_type": "coil", "maximum": 1}, 1.0, (5, (1,))),
        ({"function_code": 15, "data_type": "coil", "maximum": 1}, 0.0, (15, (0,))),
        ({"function_code": 6, "scale": 0.1}, 12.34, (6, (123,))),
        ({"function_code": 6, "data_type": "i16", "minimum": -40, "offset": 10}, -20.0, (6, (0xFFE2,))),
        ({"data_type": "u32", "maximum": 1e6}, 70_000.0, (16, (1, 4464))),
        ({"data_type": "i32", "minimum": -1e6}, -2.0, (16, (0xFFFF, 0xFFFE))),
        ({"data_type": "f32"}, 12.5, (16, (0x4148, 0x0000))),
        ({"data_type": "f32", "word_order": "low_first"}, 12.5, (16, (0x0000, 0x4148))),
    ],
)
def test_a_value_becomes_coils_or_registers(table, value, expected):
    code, values = expected
    assert actuator(**table).plan_write(value) == ModbusWrite(3, code, 200, values)


@pytest.mark.parametrize(
    ("table", "value", "words"),
    [
        ({}, 100.5, "100.5 is not within 0 to 100"),
        ({}, -0.001, "is not within 0 to 100"),
        ({}, float("nan"), "nan is not within"),
        ({"function_code": 5, "data_type": "coil", "maximum": 1}, 0.5, "a coil is 0 or 1"),
    ],
)
def test_a_value_that_may_not_be_commanded_is_refused_with_the_limits(table, value, words):
    with pytest.raises(ValueError, match=words):
        actuator(**table).plan_write(value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"function_code": 6, "data_type": "f32"}, "function code 6 writes u16 or i16, not f32"),
        ({"function_code": 5}, "function code 5 writes coil, not u16"),
        ({"minimum": 5, "maximum": 1}, "minimum 5.0 is above maximum 1.0"),
        ({"maximum": 70_000}, "70000: does not fit into u16"),
        ({"minimum": -1}, "-1: does not fit into u16"),
        ({"scale": 0}, "a scale of 0"),
        ({"data_type": "f32", "maximum": 1e39}, "does not fit into f32"),
        ({"function_code": 3}, "input should be 5, 6, 15 or 16"),
    ],
)
def test_a_declaration_that_cannot_be_written_is_a_fault(table, words):
    with pytest.raises(ConfigurationError, match=words):
        actuator(**table)


def test_the_metric_is_node_and_name():
    assert actuator().metric_name == "pump-1/valve"
