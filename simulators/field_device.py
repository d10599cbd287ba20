"""Devices: an instrument with nodes on it, that answers requests from the signals and the scenario.

Pure: bytes and a time in, bytes and what was served out. The only memory is that of `counter` signals.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from simulators.field_signal import Counter, Signal
from simulators.instrument import (
    TABLE_OF_FUNCTION,
    ConstantRegister,
    DeviceIdRegister,
    HeartbeatRegister,
    Instrument,
    NumberType,
    QuantityRegister,
    Register,
    RingRegister,
    SampleCounterRegister,
    StatusRegister,
    TextRegister,
    encode_number,
)
from simulators.noise import make_key
from simulators.scenario import WHOLE_DEVICE, Fault, FaultKind, Scenario, find_fault
from simulators.sensing_element import VibratingWire
from simulators.winsen_frame import READ_COMMAND, encode_gas_answer

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
ILLEGAL_VALUE: Final = 3
DEVICE_FAILURE: Final = 4
_READ_COUNT_MAX: Final = 125
_MHZ19B_TEMPERATURE_CELSIUS: Final = 26
"""What all captured frames show; not a channel of ours."""


class ServedReading(NamedTuple):
    """A quantity that left the simulator, whole, in an undamaged answer."""

    node_id: str
    quantity: str
    address: int
    """Of its first register; 0 on a serial sensor."""
    raw: bytes
    """Its bytes on the wire."""
    value: float
    """What the instrument measured, in the quantity's unit, before it was rounded to `raw`."""


class Answer(NamedTuple):
    """What a device does about a request."""

    payload: bytes | None
    """Pdu (Modbus) or frame (serial sensor); None: silence."""
    is_crc_wrong: bool = False
    served: Sequence[ServedReading] = ()


SILENCE: Final = Answer(None)


class FieldNode:
    """One physical sensing device: its signals, and what ails it."""

    def __init__(
        self,
        node_id: str,
        channel_index: int,
        signals: Mapping[str, Signal],
        wire: VibratingWire,
        seed: int,
        scenario: Scenario,
    ) -> None:
        self.node_id = node_id
        self.channel_index = channel_index
        self.signals = signals
        self.wire = wire
        self._seed = seed
        self._scenario = scenario
        self._keys = {quantity: make_key(seed, node_id, quantity) for quantity in signals}
        self._read_counts = dict.fromkeys(signals, 0)

    def faults_at(self, time_ns: int) -> tuple[Fault, ...]:
        """The faults of this node that are active at a time."""
        return self._scenario.faults_at(self.node_id, time_ns)

    def true_value(self, quantity: str, time_ns: int) -> float:
        """What is true at the sensor, leaks included, whatever the instrument shows."""
        signal = self.signals[quantity]
        if isinstance(signal, Counter):
            return signal.value_of(self._read_counts[quantity])
        added = self._scenario.added_at(self.node_id, quantity, time_ns)
        return signal.value_at(self._seed, self._keys[quantity], time_ns) + added

    def shown_value(self, quantity: str, time_ns: int, faults: Sequence[Fault]) -> float:
        """What the instrument takes for true, given its active faults."""
        for fault in faults:
            if fault.quantity in {None, quantity}:
                if fault.kind is FaultKind.OUT_OF_RANGE and fault.value is not None:
                    return fault.value
                if fault.kind is FaultKind.NOT_A_NUMBER:
                    return math.nan
        return self.true_value(quantity, time_ns)

    def count_read(self, quantity: str) -> None:
        """Takes note that the quantity was read once more."""
        self._read_counts[quantity] += 1


class _Moment(NamedTuple):
    """What a register's encoder needs to know."""

    time_ns: int
    node: FieldNode | None
    faults: tuple[Fault, ...]
    shown: dict[tuple[str, str], float]
    """Values shown in this request, so that all registers of an answer agree."""

    def value(self, quantity: str) -> float:
        node = self.node
        assert node is not None
        key = node.node_id, quantity
        if key not in self.shown:
            self.shown[key] = node.shown_value(quantity, self.time_ns, self.faults)
        return self.shown[key]


_Encoder = Callable[[_Moment], bytes]
_PartEncoder = Callable[[_Moment, int, int], bytes]
"""Some words of a register, from the first to before the last."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A register of the map at its place, ready to be encoded."""

    first: int
    word_count: int
    node: FieldNode | None
    quantity: str | None
    """Set where it carries a quantity: reading it counts."""
    encode: _Encoder
    encode_part: _PartEncoder | None = None
    """Of a register that is too long to be encoded whole for each request."""


class ModbusDevice:
    """One device id."""

    def __init__(self, device_id: int, instrument: Instrument, nodes: Sequence[FieldNode], start_ns: int) -> None:
        self.device_id = device_id
        self.nodes = tuple(nodes)
        self._spans = instrument.span
        self._cells: dict[str, list[_Cell]] = {"holding": [], "input": []}
        by_channel = {node.channel_index: node for node in nodes}
        for row in instrument.register_map:
            for index in range(1, (instrument.channel_count if row.stride else 1) + 1):
                address = row.address + row.stride * (index - 1)
                cell = _build_cell(row, address, by_channel.get(index), instrument, device_id, start_ns)
                self._cells[row.table].append(cell)

    def answer(self, pdu: bytes, time_ns: int) -> Answer:
        """The answer to a request at a time, with all faults in it."""
        faults = {node.node_id: node.faults_at(time_ns) for node in self.nodes}
        whole = _find_whole_fault(faults.values())
        if whole is None:
            return self._read(pdu, time_ns, faults, is_counted=True)
        if whole.kind is FaultKind.NO_ANSWER:
            return SILENCE
        if whole.kind is FaultKind.MODBUS_EXCEPTION:
            return Answer(_exception(pdu, DEVICE_FAILURE if whole.code is None else whole.code))
        answer = self._read(pdu, time_ns, faults, is_counted=False)
        if whole.kind is FaultKind.MALFORMED and answer.payload is not None:
            return Answer(answer.payload[:-1])
        return Answer(answer.payload, is_crc_wrong=True)

    def _read(self, pdu: bytes, time_ns: int, faults: Mapping[str, tuple[Fault, ...]], *, is_counted: bool) -> Answer:
        function_code = pdu[0]
        table = TABLE_OF_FUNCTION.get(function_code)
        if table is None:
            return Answer(_exception(pdu, ILLEGAL_FUNCTION))
        if len(pdu) != 5:
            return Answer(_exception(pdu, ILLEGAL_VALUE))
        first, count = struct.unpack_from(">HH", pdu, 1)
        if not 1 <= count <= _READ_COUNT_MAX:
            return Answer(_exception(pdu, ILLEGAL_VALUE))
        last = first + count - 1
        spans = (span for span in self._spans if span.table == table)
        span = next((span for span in spans if span.first <= first and last <= span.last), None)
        if span is None:
            return Answer(_exception(pdu, ILLEGAL_ADDRESS))
        words = bytearray(struct.pack(">H", span.fill) * count)
        served = self._fill(words, self._cells[table], first, time_ns, faults)
        if is_counted:
            for reading in served:
                self._node(reading.node_id).count_read(reading.quantity)
        return Answer(bytes((function_code, len(words))) + words, served=served if is_counted else ())

    def _fill(
        self,
        words: bytearray,
        cells: Sequence[_Cell],
        first: int,
        time_ns: int,
        faults: Mapping[str, tuple[Fault, ...]],
    ) -> list[ServedReading]:
        end = first + len(words) // 2
        served: list[ServedReading] = []
        shown: dict[tuple[str, str], float] = {}
        for cell in cells:
            if cell.first >= end or cell.first + cell.word_count <= first:
                continue
            node = cell.node
            node_faults = faults[node.node_id] if node is not None else ()
            frozen = find_fault(node_faults, FaultKind.FROZEN) if node_faults else None
            moment = _Moment(time_ns if frozen is None else frozen.from_ns, node, node_faults, shown)
            start = max(cell.first, first)
            stop = min(cell.first + cell.word_count, end)
            if cell.encode_part is not None:
                part = cell.encode_part(moment, start - cell.first, stop - cell.first)
                words[2 * (start - first) : 2 * (stop - first)] = part
                continue
            raw = cell.encode(moment)
            words[2 * (start - first) : 2 * (stop - first)] = raw[2 * (start - cell.first) : 2 * (stop - cell.first)]
            is_whole = stop - start == cell.word_count
            if is_whole and node is not None and cell.quantity is not None:
                value = moment.value(cell.quantity)
                served.append(ServedReading(node.node_id, cell.quantity, cell.first, raw, value))
        return served

    def _node(self, node_id: str) -> FieldNode:
        return next(node for node in self.nodes if node.node_id == node_id)


class WinsenSensor:
    """A Winsen sensor with one gas, question and answer."""

    def __init__(self, instrument: Instrument, node: FieldNode) -> None:
        assert instrument.answers_quantity is not None
        self.nodes = (node,)
        self._quantity = instrument.answers_quantity

    def answer(self, command: int, time_ns: int) -> Answer:
        """The answer frame to a command; silence for all but the read command, as it sets nothing that we show."""
        node = self.nodes[0]
        faults = node.faults_at(time_ns)
        whole = _find_whole_fault([faults])
        if command != READ_COMMAND or (whole is not None and whole.kind is FaultKind.NO_ANSWER):
            return SILENCE
        frozen = find_fault(faults, FaultKind.FROZEN)
        value = node.shown_value(self._quantity, time_ns if frozen is None else frozen.from_ns, faults)
        is_wrong = whole is not None and whole.kind is FaultKind.CRC_ERROR
        frame = encode_gas_answer(round(value), _MHZ19B_TEMPERATURE_CELSIUS, is_checksum_wrong=is_wrong)
        if whole is not None:
            return Answer(frame if is_wrong else frame[:5], is_wrong)
        node.count_read(self._quantity)
        return Answer(frame, served=(ServedReading(node.node_id, self._quantity, 0, frame[2:4], value),))


def _find_whole_fault(of_nodes: Iterable[Sequence[Fault]]) -> Fault | None:
    active = [fault for faults in of_nodes for fault in faults if fault.kind in WHOLE_DEVICE]
    return min(active, key=lambda fault: WHOLE_DEVICE.index(fault.kind)) if active else None


def _exception(pdu: bytes, code: int) -> bytes:
    return bytes((pdu[0] | 0x80, code))


def _build_cell(
    row: Register, address: int, node: FieldNode | None, instrument: Instrument, device_id: int, start_ns: int
) -> _Cell:
    if isinstance(row, RingRegister):
        ring = _ring_encoder(row, start_ns)
        word_count = row.samples * row.type.word_count
        return _Cell(address, word_count, node, None, lambda moment: ring(moment, 0, word_count), ring)
    encode, word_count = _build_encoder(row, instrument, device_id, start_ns)
    return _Cell(address, word_count, node, _carried_quantity(row), encode)


def _carried_quantity(row: Register) -> str | None:
    if isinstance(row, QuantityRegister):
        return row.quantity
    return row.quantity if isinstance(row, StatusRegister) and row.active is not None else None


def _build_encoder(row: Register, instrument: Instrument, device_id: int, start_ns: int) -> tuple[_Encoder, int]:
    if isinstance(row, QuantityRegister):
        return _quantity_encoder(row, instrument), row.type.word_count
    if isinstance(row, StatusRegister):
        return _status_encoder(row), row.type.word_count
    if isinstance(row, HeartbeatRegister):
        period_ns = round(row.period_s * 1_000_000_000)
        return lambda moment: struct.pack(">H", (moment.time_ns - start_ns) // period_ns & 0xFFFF), 1
    if isinstance(row, SampleCounterRegister):
        return _sample_counter(row, start_ns), row.type.word_count
    assert not isinstance(row, RingRegister)  # it has an encoder of its own
    raw, word_count = _fixed(row, device_id)
    return lambda _moment: raw, word_count


def _fixed(row: ConstantRegister | DeviceIdRegister | TextRegister, device_id: int) -> tuple[bytes, int]:
    if isinstance(row, ConstantRegister):
        return encode_number(row.value, row.type, row.word_order), row.type.word_count
    if isinstance(row, DeviceIdRegister):
        return bytes((row.type_code, device_id)), 1
    return row.text.encode("ascii").ljust(2 * row.word_count, b"\0"), row.word_count


def _samples_taken(row: SampleCounterRegister | RingRegister, start_ns: int, time_ns: int) -> int:
    """Sample 0 is taken when the device is started."""
    return int((time_ns - start_ns) * row.sample_rate_hz // 1_000_000_000) + 1


def _sample_counter(row: SampleCounterRegister, start_ns: int) -> _Encoder:
    modulus = 1 << (16 * row.type.word_count)

    def encode(moment: _Moment) -> bytes:
        counts = _samples_taken(row, start_ns, moment.time_ns) // row.samples_per_count
        return encode_number(counts % modulus, row.type, row.word_order)

    return encode


def _ring_encoder(row: RingRegister, start_ns: int) -> _PartEncoder:
    width = row.type.word_count
    is_block = row.samples_per_count == row.samples

    def encode(moment: _Moment, first_word: int, end_word: int) -> bytes:
        taken = _samples_taken(row, start_ns, moment.time_ns)
        newest = (taken // row.samples if is_block else taken) * (row.samples if is_block else 1) - 1
        first, end = first_word // width, -(-end_word // width)
        raw = b"".join(number_at(moment, place, newest) for place in range(first, end))
        return raw[2 * (first_word - first * width) : 2 * (end_word - first * width)]

    def number_at(moment: _Moment, place: int, newest: int) -> bytes:
        number = newest - (newest - place) % row.samples
        node = moment.node
        if node is None or number < 0:
            return encode_number(0.0, row.type, row.word_order)
        value = node.shown_value(row.quantity, sample_time_ns(row, start_ns, number), moment.faults)
        scaled = value if row.type is NumberType.F32 else value / row.resolution
        return encode_number(scaled, row.type, row.word_order)

    return encode


def sample_time_ns(row: SampleCounterRegister | RingRegister, start_ns: int, number: int) -> int:
    """When a sample is taken, by the device's own clock."""
    return start_ns + round(number * 1_000_000_000 / row.sample_rate_hz)


def _quantity_encoder(row: QuantityRegister, instrument: Instrument) -> _Encoder:
    absent = encode_number(row.absent, row.type, row.word_order)
    thermistor = instrument.thermistor

    def encode(moment: _Moment) -> bytes:
        node = moment.node
        if node is None or find_fault(moment.faults, FaultKind.NOT_INSTALLED):
            return absent
        measured = moment.value(row.quantity)
        if row.element == "vibrating_wire":
            measured = node.wire.frequency_hz(measured)
        elif row.element == "thermistor" and thermistor is not None and not math.isnan(measured):
            measured = thermistor.resistance_ohm(measured)
        scaled = measured if row.type is NumberType.F32 else measured / row.resolution
        return encode_number(scaled, row.type, row.word_order)

    return encode


def _status_encoder(row: StatusRegister) -> _Encoder:
    def encode(moment: _Moment) -> bytes:
        code = row.absent if moment.node is None else _status_code(row, moment)
        return encode_number(code, row.type, row.word_order)

    return encode


def _status_code(row: StatusRegister, moment: _Moment) -> int:
    faults = [fault for fault in moment.faults if fault.quantity in {None, row.quantity}]
    if row.active is not None and find_fault(faults, FaultKind.NOT_INSTALLED):
        return row.absent
    replaced = next((row.when[fault.kind] for fault in faults if fault.kind in row.when), None)
    if replaced is not None:
        return replaced
    code = row.normal
    if row.quantity is not None and row.active is not None and moment.value(row.quantity) >= 0.5:
        code = row.active
    if row.quantity is not None:
        for bit, set_point in enumerate(row.alarm_set_points):
            code |= (moment.value(row.quantity) >= set_point) << bit
    for fault in faults:
        code |= row.set_bits.get(fault.kind, 0)
    return code
