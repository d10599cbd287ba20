"""The field's configuration: the example is right, and every fault of a wrong one is named."""

from __future__ import annotations

from importlib import resources

import pytest

from contracts.errors import ConfigurationError
from simulators.configuration import parse_configuration
from simulators.errors import OrderError
from simulators.order import ClearCommand, FaultCommand, FaultOrder, StatusCommand, ValueCommand
from simulators.read_instruments import read_instruments

EXAMPLE = (resources.files("simulators") / "example.toml").read_text("utf-8")


def _faults(text: str) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "field.toml", read_instruments())
    return {fault.path: fault.message for fault in caught.value.faults}


def test_the_example_is_right_and_shows_every_kind_of_bus():
    settings = parse_configuration(EXAMPLE, "example.toml", read_instruments())
    assert {bus.kind for bus in settings.bus} == {"modbus_tcp", "modbus_rtu", "serial_frame"}
    assert settings.event
    assert settings.fault


def test_faults_of_shape_are_named_all_at_once():
    text = EXAMPLE.replace("port = 15501", "port = 99999").replace("device_id = 11", "device_id = 248")
    faults = _faults(text + '\n[[fault]]\nkind = "crc_error"\nbus = "x"\nfor_s = 1.0\n')
    paths = " ".join(faults)
    assert len(faults) == 3, faults
    assert "port" in paths
    assert "device_id" in paths
    assert "$.fault[1]" in faults


def test_faults_of_reference_are_named_all_at_once():
    text = (
        EXAMPLE.replace('"strain-example-2"', '"strain-example-1"')
        .replace('instrument = "geokon_3810a"', 'instrument = "geokon"')
        .replace('node = "gas-example-1"\nat_s', 'node = "gas-example-9"\nat_s')
        .replace('kind = "crc_error"\nnode = "temp-example-1"', 'kind = "crc_error"\nnode = "gas-example-1"')
        .replace("channel_index = 2", "channel_index = 17")
    )
    faults = _faults(text)
    assert set(faults) == {
        "$.bus[1].node[0].node_id",
        "$.bus[1].node[1].node_id",
        "$.bus[1].node[1].channel_index",
        "$.bus[1].node[2].instrument",
        "$.event[0].node",
        "$.fault[0]",
    }
    assert "geokon_3810a" in faults["$.bus[1].node[2].instrument"], "the known instruments are not named"
    assert "modbus_tcp bus cannot show 'crc_error'" in faults["$.fault[0]"]


def test_two_nodes_cannot_stand_at_one_place_nor_two_instruments_at_one_device_id():
    faults = _faults(
        EXAMPLE.replace("channel_index = 2", "channel_index = 1").replace("device_id = 11", "device_id = 1")
    )
    assert "strain-example-1" in faults["$.bus[1].node[1].channel_index"]
    assert "$.bus[1].node[2].instrument" in faults


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({"kind": "no_answer", "node": "nobody"}, "no node 'nobody'"),
        ({"kind": "warm_up", "node": "strain-example-1"}, "cannot show 'warm_up'"),
        ({"kind": "crc_error", "node": "gas-example-1"}, "cannot show 'crc_error'"),
        ({"kind": "not_a_number", "node": "strain-example-1"}, "cannot show 'not_a_number'"),
        ({"kind": "modbus_exception", "node": "co2-example-1"}, "cannot show 'modbus_exception'"),
        ({"kind": "line_lost", "bus": "no-bus"}, "no bus 'no-bus'"),
        ({"kind": "out_of_range", "node": "gas-example-1", "value": 1.0, "quantity": "level"}, "has no 'level'"),
    ],
)
def test_a_fault_that_cannot_be_shown_is_refused_with_its_reason(build_field, start_ns, order, reason):
    command = FaultCommand(command="fault", order=FaultOrder.model_validate({"for_s": 1.0, **order}))
    with pytest.raises(OrderError, match=reason):
        build_field(EXAMPLE).execute(command, start_ns)


def test_scheduled_faults_and_leaks_come_at_their_time_and_can_be_cleared(build_field, start_ns):
    field = build_field(EXAMPLE)

    def active(after_s: int) -> set[str]:
        status = field.execute(StatusCommand(command="status"), start_ns + after_s * 10**9)
        return {one.get("kind", "leak") for one in status["active"]}

    assert [active(29), active(31), active(61), active(71)] == [set(), {"leak"}, {"leak", "crc_error"}, {"leak"}]
    cleared = field.execute(ClearCommand(command="clear", subject="gas-example-1"), start_ns)
    assert cleared == {"cleared_count": 1}
    assert active(31) == set()


def test_a_lost_line_is_lost_for_as_long_as_ordered(build_field, start_ns):
    field = build_field(EXAMPLE)
    order = FaultOrder.model_validate({"kind": "line_lost", "bus": "gas-tcp", "at_s": 1.0, "for_s": 2.0})
    field.execute(FaultCommand(command="fault", order=order), start_ns)
    states = [field.is_line_lost("gas-tcp", start_ns + at * 10**9) for at in (0, 1, 2, 3)]
    assert states == [False, True, True, False]
    assert not field.is_line_lost("co2-uart", start_ns + 10**9)


def test_the_truth_can_be_asked_for_any_time(build_field, start_ns):
    field = build_field(EXAMPLE)
    command = ValueCommand(command="value", node="gas-example-1", quantity="methane_lel", time_ns=start_ns)
    assert field.execute(command, start_ns + 55 * 10**9)["value"] < 2.0
    command = ValueCommand(command="value", node="gas-example-1", quantity="methane_lel")
    assert field.execute(command, start_ns + 60 * 10**9)["value"] > 40.0
