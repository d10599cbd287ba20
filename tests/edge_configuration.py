"""Pieces of an agent's configuration that several tests are made of: templates for `str.format`."""

from __future__ import annotations


def gateway(gateway_id: str = "gw-1", *, mqtt: str = "", spool: str = "flush_interval_s = 0.1") -> str:
    """A gateway with its broker (`{mqtt_port}`) and its spool; what is beside stands in further lines."""
    return f"""
[gateway]
gateway_id = "{gateway_id}"
district_id = "harbour"
[mqtt]
port = {{mqtt_port}}
{mqtt}
[spool]
path = "spool.sqlite"
{spool}
"""


def modbus_bus(bus_id: str = "rs485", *, timeout_s: float = 1.0) -> str:
    """A Modbus TCP endpoint (`{modbus_port}`); its nodes follow."""
    return f"""
[[bus]]
bus_id = "{bus_id}"
kind = "modbus_tcp"
host = "127.0.0.1"
port = {{modbus_port}}
timeout_s = {timeout_s}
"""


def strain_node(
    node_id: str = "strain-1", *, device_id: int | str = 1, channel_index: int = 1, poll_interval_s: float = 0.2
) -> str:
    """A vibrating-wire gauge: 1000.0 Hz are 4.062 · (1000² - 900²) · 10⁻³ = 771.8 µε."""
    return f"""
[[bus.node]]
node_id = "{node_id}"
profile = "winners_vtn416"
device_id = {device_id}
channel_index = {channel_index}
poll_interval_s = {poll_interval_s}
calibration.strain = {{{{ kind = "vibrating_wire", gauge_factor = 4.062, zero_frequency_hz = 900.0 }}}}
"""


def actuator(name: str, address: int, *, function_code: int = 5, data_type: str = "coil", maximum: float = 1.0) -> str:
    """What of the node before it may be written."""
    return f"""
[[bus.node.actuator]]
name = "{name}"
function_code = {function_code}
address = {address}
data_type = "{data_type}"
minimum = 0.0
maximum = {maximum}
"""
