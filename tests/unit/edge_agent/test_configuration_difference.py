"""What changes when one configuration takes the place of another."""

from __future__ import annotations

from edge_agent.settings.configuration import parse_configuration
from edge_agent.settings.configuration_difference import describe, find_difference
from edge_agent.settings.load_profiles import load_profiles

HEAD = '[gateway]\ngateway_id = "gw-1"\ndistrict_id = "d"\n[mqtt]\nport = {port}\n[spool]\npath = "spool.sqlite"\n'
BUS = (
    '[[bus]]\nbus_id = "{name}"\nkind = "modbus_tcp"\nhost = "192.0.2.{host}"\n'
    '[[bus.node]]\nnode_id = "{name}-1"\nprofile = "honeywell_sensepoint_xrl"\ndevice_id = 1\n'
)
PROFILES = load_profiles(None)


def configuration(*buses: tuple[str, int], port: int = 1883):
    text = HEAD.format(port=port) + "".join(BUS.format(name=name, host=host) for name, host in buses)
    return parse_configuration(text, "agent.toml", PROFILES)


def test_equal_lines_keep_polling_and_the_others_are_named():
    old = configuration(("a", 1), ("b", 2), ("c", 3))
    difference = find_difference(old, configuration(("a", 1), ("c", 4), ("d", 5)))
    assert difference.untouched == ("a",)
    assert difference.changed == ("c",)
    assert difference.added == ("d",)
    assert difference.removed == ("b",)
    assert not difference.needs_restart
    assert list(describe(difference)) == [
        "bus d: is new",
        "bus b: is gone",
        "bus c: differs, its line begins anew",
        "bus a: keeps polling",
    ]


def test_another_order_of_lines_is_no_difference():
    difference = find_difference(configuration(("a", 1), ("b", 2)), configuration(("b", 2), ("a", 1)))
    assert difference.is_empty
    assert list(describe(difference)) == ["nothing changes"]


def test_another_broker_needs_a_new_start_and_no_line_is_said_to_keep_polling():
    difference = find_difference(configuration(("a", 1)), configuration(("a", 1), port=8883))
    assert (difference.tables, difference.needs_restart, difference.is_empty) == (("mqtt",), True, False)
    assert list(describe(difference)) == ["[mqtt]: differs, so that the agent starts anew"]
