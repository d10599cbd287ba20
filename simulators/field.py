"""The whole field in one value: buses with their devices, the scenario, and the orders that change it.

Pure: the shells (serve_*) bring requests and the time, and carry out what `is_line_lost` says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import assert_never

from simulators.configuration import (
    BusSettings,
    FieldSettings,
    ModbusNodeSettings,
    NodeSettings,
    SerialFrameSettings,
    find_refusal,
)
from simulators.errors import OrderError
from simulators.field_device import SILENCE, Answer, FieldNode, ModbusDevice, WinsenSensor
from simulators.field_signal import Counter
from simulators.instrument import InstrumentLibrary
from simulators.modbus_frame import Request
from simulators.order import (
    ClearCommand,
    FaultCommand,
    FaultOrder,
    GasLeak,
    Happening,
    HappeningCommand,
    StatusCommand,
    ValueCommand,
)
from simulators.scenario import Excursion, Fault, FaultKind, Scenario, find_crossing_ns, find_fault
from simulators.sensing_element import VibratingWire

AnyCommand = FaultCommand | HappeningCommand | ClearCommand | ValueCommand | StatusCommand
JsonObject = dict[str, object]


@dataclass
class BusTotals:
    """Counters of a bus since the start."""

    requests_total: int = 0
    answers_total: int = 0
    served_readings_total: int = 0


@dataclass
class FieldBus:
    """One bus: what answers on it."""

    settings: BusSettings
    devices: Mapping[int, ModbusDevice] = field(default_factory=dict)
    """By device id, on Modbus."""
    sensor: WinsenSensor | None = None
    """On a serial sensor's line."""
    totals: BusTotals = field(default_factory=BusTotals)

    @property
    def bus_id(self) -> str:
        """Its name."""
        return self.settings.bus_id

    def answer_modbus(self, request: Request, time_ns: int) -> Answer | None:
        """The answer of the device that is asked; None if there is no such device."""
        self.totals.requests_total += 1
        device = self.devices.get(request.device_id)
        return None if device is None else self._count(device.answer(request.pdu, time_ns))

    def answer_winsen(self, command: int, time_ns: int) -> Answer:
        """The sensor's answer to a command."""
        self.totals.requests_total += 1
        return SILENCE if self.sensor is None else self._count(self.sensor.answer(command, time_ns))

    def _count(self, answer: Answer) -> Answer:
        self.totals.answers_total += answer.payload is not None
        self.totals.served_readings_total += len(answer.served)
        return answer


class Field:
    """All buses of a configuration, from a start time on."""

    def __init__(self, settings: FieldSettings, instruments: InstrumentLibrary, start_ns: int) -> None:
        self.settings = settings
        self.start_ns = start_ns
        self._instruments = instruments
        self._scenario = Scenario()
        self._nodes: dict[str, FieldNode] = {}
        self.buses = tuple(self._build_bus(bus) for bus in settings.bus)
        for event in settings.event:
            self._scenario.add(event.excursion(start_ns), start_ns)
        for order in settings.fault:
            self._scenario.add(self._fault(order, start_ns), start_ns)

    def true_value(self, node_id: str, quantity: str, time_ns: int) -> float:
        """What is true at a sensor at a time. Raises OrderError for a channel that is not there."""
        node = self._nodes.get(node_id)
        if node is None or quantity not in node.signals:
            raise OrderError(f"there is no channel {node_id}/{quantity}")
        return node.true_value(quantity, time_ns)

    def is_line_lost(self, bus_id: str, time_ns: int) -> bool:
        """Whether the bus's listener or port must be gone at a time."""
        return find_fault(self._scenario.faults_at(bus_id, time_ns), FaultKind.LINE_LOST) is not None

    def crossing_ns(self, excursion: Excursion, set_point: float) -> int | None:
        """When the channel of a leak truly reaches a set-point, from the leak's beginning on; None if never."""

        def value_at(time_ns: int) -> float:
            return self.true_value(excursion.node_id, excursion.quantity, time_ns)

        return find_crossing_ns(value_at, set_point, excursion.from_ns, excursion.until_ns)

    def execute(self, command: AnyCommand, now_ns: int) -> JsonObject:
        """Carries out an order; returns its answer. Raises OrderError if it cannot be carried out."""
        match command:
            case FaultCommand(order=order):
                fault = self._fault(order, now_ns)
                self._scenario.add(fault, now_ns)
                return {"from_ns": fault.from_ns, "until_ns": fault.until_ns}
            case HappeningCommand(order=happening, set_points=set_points):
                return self._let_happen(happening, set_points, now_ns)
            case ClearCommand(subject=subject):
                return {"cleared_count": self._scenario.clear(subject)}
            case ValueCommand(node=node, quantity=quantity, time_ns=time_ns):
                at_ns = now_ns if time_ns is None else time_ns
                return {"value": self.true_value(node, quantity, at_ns), "time_ns": at_ns}
            case StatusCommand():
                return self._status(now_ns)
            case _:
                assert_never(command)

    def _let_happen(self, happening: Happening, set_points: Sequence[float], now_ns: int) -> JsonObject:
        quantity = happening.quantity if isinstance(happening, GasLeak) else "fire_alarm"
        node = self._nodes.get(happening.node)
        if node is None or quantity not in node.signals:
            raise OrderError(f"there is no channel {happening.node}/{quantity}")
        if isinstance(node.signals[quantity], Counter):
            raise OrderError(f"{happening.node}/{quantity} is a counter: nothing can be added to it")
        excursion = happening.excursion(now_ns)
        self._scenario.add(excursion, now_ns)
        crossings = [
            {"set_point": set_point, "crossing_ns": self.crossing_ns(excursion, set_point)} for set_point in set_points
        ]
        return {"from_ns": excursion.from_ns, "until_ns": excursion.until_ns, "crossings": crossings}

    def _fault(self, order: FaultOrder, base_ns: int) -> Fault:
        refusal = find_refusal(order, self.settings, self._instruments)
        if refusal is not None:
            raise OrderError(refusal)
        quantity = order.quantity
        if quantity is None and order.kind in {FaultKind.OUT_OF_RANGE, FaultKind.NOT_A_NUMBER}:
            quantity = next(iter(self._nodes[order.subject_id].signals))
        return order.fault(base_ns, quantity)

    def _status(self, now_ns: int) -> JsonObject:
        return {
            "start_ns": self.start_ns,
            "now_ns": now_ns,
            "node_count": len(self._nodes),
            "buses": {bus.bus_id: {"kind": bus.settings.kind, **asdict(bus.totals)} for bus in self.buses},
            "active": [asdict(one) for one in self._scenario.active_at(now_ns)],
        }

    def _build_bus(self, settings: BusSettings) -> FieldBus:
        if isinstance(settings, SerialFrameSettings):
            node = self._build_node(settings.node[0], 1, VibratingWire())
            instrument = self._instruments[settings.node[0].instrument]
            return FieldBus(settings, sensor=WinsenSensor(instrument, node))
        device_ids = dict.fromkeys(node.device_id for node in settings.node)
        rows = {key: [node for node in settings.node if node.device_id == key] for key in device_ids}
        return FieldBus(settings, {key: self._build_device(key, nodes) for key, nodes in rows.items()})

    def _build_device(self, device_id: int, rows: Sequence[ModbusNodeSettings]) -> ModbusDevice:
        nodes = [self._build_node(row, row.channel_index, row.vibrating_wire) for row in rows]
        return ModbusDevice(device_id, self._instruments[rows[0].instrument], nodes, self.start_ns)

    def _build_node(self, row: NodeSettings, channel_index: int, wire: VibratingWire) -> FieldNode:
        seed = self.settings.field.seed
        node = FieldNode(row.node_id, channel_index, row.signal, wire, seed, self._scenario)
        self._nodes[row.node_id] = node
        return node
