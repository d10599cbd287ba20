"""The field's configuration: TOML → frozen typed models, with all faults at once.

    [field]     seed, control socket, ledger
    [[bus]]     a listener or a pseudo-terminal, by `kind`: modbus_tcp, modbus_rtu, serial_frame
      [[bus.node]]  a sensing device on it, with a signal for each quantity
    [[event]]   what happens: gas_leak, fire
    [[fault]]   what fails

The kinds and names of buses and nodes are those of the edge agent's configuration.
"""

from __future__ import annotations

import tomllib
from collections import Counter as Tally
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from contracts.configuration import Settings, check_settings
from contracts.errors import ConfigurationError, Fault
from contracts.identifiers import Identifier
from simulators.field_signal import Signal
from simulators.instrument import Instrument, InstrumentLibrary
from simulators.order import FaultOrder, Happening
from simulators.sensing_element import VibratingWire


class SimulatorSettings(Settings):
    """The simulator itself."""

    seed: int = Field(default=1, ge=0)
    """The same seed gives the same signals."""
    control: str | None = None
    """Unix socket for orders at run time."""
    served_ledger: str | None = None
    """Append-only file, one JSON line for each reading that left the simulator."""


class NodeSettings(Settings):
    """A sensing device."""

    node_id: Identifier
    instrument: str
    signal: dict[str, Signal] = Field(min_length=1)
    """By quantity."""


class ModbusNodeSettings(NodeSettings):
    """A sensing device behind a Modbus device id; nodes with the same id are channels of one device."""

    device_id: int = Field(ge=1, le=247)
    channel_index: int = Field(default=1, ge=1)
    """Which channel of the device, from 1."""
    vibrating_wire: VibratingWire = VibratingWire()


class ModbusTcpSettings(Settings):
    """A Modbus TCP listener with many device ids."""

    kind: Literal["modbus_tcp"]
    bus_id: Identifier
    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    """0: one that the system gives; `city-simulator status` tells it."""
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)


class ModbusRtuSettings(Settings):
    """A serial line on a pseudo-terminal with many device ids."""

    kind: Literal["modbus_rtu"]
    bus_id: Identifier
    link: str = Field(min_length=1)
    """Symbolic link to the pseudo-terminal: what the agent opens."""
    baud_rate: int = Field(default=9600, ge=300, le=4_000_000)
    is_line_time_simulated: bool = False
    """Answers come as late as the line's speed would make them (11 bits a byte)."""
    node: tuple[ModbusNodeSettings, ...] = Field(min_length=1)


class SerialFrameSettings(Settings):
    """One serial sensor on a pseudo-terminal."""

    kind: Literal["serial_frame"]
    bus_id: Identifier
    link: str = Field(min_length=1)
    node: tuple[NodeSettings, ...] = Field(min_length=1, max_length=1)


BusSettings = Annotated[ModbusTcpSettings | ModbusRtuSettings | SerialFrameSettings, Field(discriminator="kind")]


class FieldSettings(Settings):
    """The whole file."""

    field: SimulatorSettings = SimulatorSettings()
    bus: tuple[BusSettings, ...] = Field(min_length=1)
    event: tuple[Happening, ...] = ()
    fault: tuple[FaultOrder, ...] = ()


def parse_configuration(text: str, source: str, instruments: InstrumentLibrary) -> FieldSettings:
    """Parses the field's TOML.

    Raises:
        ConfigurationError: with all faults of shape; or, where the shape is right, with all faults of reference.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    settings = check_settings(FieldSettings, document, source)
    faults = list(find_reference_faults(settings, instruments))
    if faults:
        raise ConfigurationError(source, faults)
    return settings


def find_reference_faults(settings: FieldSettings, instruments: InstrumentLibrary) -> Iterator[Fault]:
    """Doubles, unknown names, and what an instrument cannot carry or show."""
    buses = Tally(bus.bus_id for bus in settings.bus)
    nodes = Tally(node.node_id for bus in settings.bus for node in bus.node)
    for bus_at, bus in enumerate(settings.bus):
        path = f"$.bus[{bus_at}]"
        if buses[bus.bus_id] > 1:
            yield Fault(f"{path}.bus_id", f"{bus.bus_id!r}: stands {buses[bus.bus_id]} times")
        for node_at, node in enumerate(bus.node):
            node_path = f"{path}.node[{node_at}]"
            if nodes[node.node_id] > 1:
                yield Fault(f"{node_path}.node_id", f"{node.node_id!r}: stands {nodes[node.node_id]} times")
            yield from _node_faults(node_path, bus, node, instruments)
        if not isinstance(bus, SerialFrameSettings):
            yield from _device_faults(path, bus)
    for event_at, event in enumerate(settings.event):
        quantity = getattr(event, "quantity", "fire_alarm")
        yield from _subject_faults(f"$.event[{event_at}].node", event.node, quantity, settings)
    for fault_at, order in enumerate(settings.fault):
        refusal = find_refusal(order, settings, instruments)
        if refusal is not None:
            yield Fault(f"$.fault[{fault_at}]", refusal)


def find_refusal(order: FaultOrder, settings: FieldSettings, instruments: InstrumentLibrary) -> str | None:
    """Why this field cannot show that fault; None if it can."""
    if order.bus is not None:
        known = [bus.bus_id for bus in settings.bus]
        return None if order.bus in known else f"there is no bus {order.bus!r}: {', '.join(known)}"
    for bus in settings.bus:
        for node in bus.node:
            if node.node_id == order.node:
                return _node_refusal(order, bus, node, instruments.get(node.instrument))
    return f"there is no node {order.node!r}"


def _node_refusal(order: FaultOrder, bus: BusSettings, node: NodeSettings, instrument: Instrument | None) -> str | None:
    if order.quantity is not None and order.quantity not in node.signal:
        return f"node {node.node_id!r} has no {order.quantity!r}: {', '.join(node.signal)}"
    is_serial = not isinstance(bus, ModbusTcpSettings)
    if instrument is not None and not instrument.can_show(order.kind, is_serial=is_serial):
        return f"a {node.instrument} on a {bus.kind} bus cannot show {order.kind.value!r}"
    return None


def _node_faults(path: str, bus: BusSettings, node: NodeSettings, instruments: InstrumentLibrary) -> Iterator[Fault]:
    instrument = instruments.get(node.instrument)
    if instrument is None:
        yield Fault(f"{path}.instrument", f"{node.instrument!r}: not one of {', '.join(instruments)}")
        return
    wanted = "winsen" if isinstance(bus, SerialFrameSettings) else "modbus"
    if instrument.protocol != wanted:
        yield Fault(f"{path}.instrument", f"{node.instrument!r}: speaks {instrument.protocol}, the bus {wanted}")
    if set(node.signal) != instrument.quantities:
        measured = ", ".join(sorted(instrument.quantities))
        yield Fault(f"{path}.signal", f"{', '.join(node.signal)}: a {node.instrument} measures {measured}")
    if isinstance(node, ModbusNodeSettings) and node.channel_index > instrument.channel_count:
        allowed = f"1 to {instrument.channel_count}"
        yield Fault(f"{path}.channel_index", f"{node.channel_index}: a {node.instrument} has {allowed}")


def _device_faults(path: str, bus: ModbusTcpSettings | ModbusRtuSettings) -> Iterator[Fault]:
    instrument_of: dict[int, str] = {}
    places: dict[tuple[int, int], str] = {}
    for node_at, node in enumerate(bus.node):
        node_path = f"{path}.node[{node_at}]"
        if instrument_of.setdefault(node.device_id, node.instrument) != node.instrument:
            other = instrument_of[node.device_id]
            yield Fault(f"{node_path}.instrument", f"{node.instrument!r}: device {node.device_id} is a {other} already")
        place = node.device_id, node.channel_index
        if places.setdefault(place, node.node_id) != node.node_id:
            taken = f"device {place[0]} channel {place[1]} is {places[place]!r} already"
            yield Fault(f"{node_path}.channel_index", taken)


def _subject_faults(path: str, node_id: str, quantity: str, settings: FieldSettings) -> Iterator[Fault]:
    nodes = {node.node_id: node for bus in settings.bus for node in bus.node}
    node = nodes.get(node_id)
    if node is None:
        yield Fault(path, f"there is no node {node_id!r}")
    elif quantity not in node.signal:
        yield Fault(path, f"node {node_id!r} has no {quantity!r}: {', '.join(node.signal)}")
    elif node.signal[quantity].kind == "counter":
        yield Fault(path, f"{quantity!r} of node {node_id!r} is a counter: nothing can be added to it")
