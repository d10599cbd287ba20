"""Devices answer as the published frames and register tables say, with and without faults."""

from __future__ import annotations

import math
import struct

import pytest

from simulators.field_device import FieldNode, ModbusDevice
from simulators.field_signal import Constant
from simulators.instrument import parse_instrument
from simulators.modbus_frame import Request, encode_mbap, encode_rtu
from simulators.order import FaultCommand, FaultOrder, Fire, GasLeak, HappeningCommand
from simulators.read_instruments import read_instruments
from simulators.scenario import Scenario
from simulators.sensing_element import Thermistor, VibratingWire

BUS = """
[[bus]]
bus_id = "bus"
kind = "modbus_rtu"
link = "x"
"""


def _node(instrument: str, quantity: str, signal: str, device_id: int = 1, extra: str = "") -> str:
    return (
        f'[[bus.node]]\nnode_id = "n"\ninstrument = "{instrument}"\ndevice_id = {device_id}\n{extra}'
        f"[bus.node.signal.{quantity}]\n{signal}\n"
    )


def _constant(value: float) -> str:
    return f'kind = "constant"\nvalue = {value}'


XRL = BUS + _node("honeywell_sensepoint_xrl", "methane_lel", _constant(0.75))


def _read(field, function_code: int, address: int, count: int, time_ns: int, device_id: int = 1):
    pdu = struct.pack(">BHH", function_code, address, count)
    return field.buses[0].answer_modbus(Request(device_id, pdu), time_ns)


def _words(field, address: int, count: int, time_ns: int, device_id: int = 1, function_code: int = 3) -> bytes:
    payload = _read(field, function_code, address, count, time_ns, device_id).payload
    assert payload[:2] == bytes((function_code, 2 * count)), payload.hex()
    return payload[2:]


def _order(field, time_ns: int, kind: str, **more: object) -> None:
    order = FaultOrder.model_validate({"kind": kind, "node": "n", "for_s": 10.0, **more})
    field.execute(FaultCommand(command="fault", order=order), time_ns)


def test_the_published_vtn416_answer_is_reproduced_byte_for_byte(build_field, start_ns, golden):
    vector = next(row for row in golden("modbus_rtu")["vectors"] if row["id"] == "vtn416")
    text = BUS
    for channel, frequency_hz in vector["expected"]["frequency_hz"].items():
        strain_ue = 4.062 * (frequency_hz**2 - 900.0**2) * 1e-3
        text += _node("winners_vtn416", "strain", _constant(strain_ue), 1, f"channel_index = {channel}\n").replace(
            '"n"', f'"n{channel}"'
        )
    request = bytes.fromhex(vector["request_hex"])
    answer = build_field(text).buses[0].answer_modbus(Request(request[0], request[1:-2]), start_ns)
    assert encode_rtu(request[0], answer.payload) == bytes.fromhex(vector["response_hex"])


def test_the_published_geokon_answer_is_reproduced_byte_for_byte(build_field, start_ns, golden):
    vector = next(row for row in golden("modbus_rtu")["vectors"] if row["id"] == "geokon3810a-thermistor")
    log_r = math.log(vector["expected"]["resistance_ohm"])
    coefficients = (1.12766979300187e-3, 2.34444184128213e-4, 8.47692130592308e-8, 1.17512193579615e-11)
    celsius = 1.0 / sum(c * log_r**power for c, power in zip(coefficients, (0, 1, 3, 5), strict=True)) - 273.2
    field = build_field(BUS + _node("geokon_3810a", "temperature", _constant(celsius), 2))
    request = bytes.fromhex(vector["request_hex"])
    answer = field.buses[0].answer_modbus(Request(request[0], request[1:-2]), start_ns)
    resistance = struct.unpack(">f", answer.payload[4:6] + answer.payload[2:4])[0]
    assert resistance == pytest.approx(10802.12109375, abs=0.01)
    assert encode_rtu(2, answer.payload)[:4] == bytes.fromhex(vector["response_hex"])[:4]


def test_captured_tcp_conversations_are_answered_as_the_real_server_did(start_ns, golden):
    """Function codes 3 and 4 and the exception as captured; the other functions get exception 1."""
    adus = [bytes.fromhex(adu["hex"]) for adu in golden("modbus_tcp")["adus"]]
    pairs = list(zip(adus[::2], adus[1::2], strict=True))
    compared = 0
    for request, response in pairs:
        function_code, (first, count) = request[7], struct.unpack(">HH", request[8:12].ljust(4, b"\0"))
        device = _constant_device(request[6], first, response[9:], function_code, is_readable=response[7] < 0x80)
        answer = device.answer(request[7:], start_ns)
        framed = encode_mbap(Request(request[6], b"", int.from_bytes(request[:2], "big")), answer.payload)
        if function_code in {3, 4}:
            assert framed == response, f"function {function_code}, {count} registers"
            compared += 1
        else:
            assert framed[7:] == bytes((function_code | 0x80, 1))
    assert compared == 5


def _constant_device(device_id: int, first: int, data: bytes, function_code: int, *, is_readable: bool):
    table = {4: "input"}.get(function_code, "holding")
    rows = "".join(
        f'[[register]]\nname = "r"\ntable = "{table}"\naddress = {first + at}\nserves = "constant"\n'
        f'type = "u16"\nvalue = {int.from_bytes(data[2 * at : 2 * at + 2], "big")}\n'
        for at in range(len(data) // 2 if function_code in {3, 4} and is_readable else 0)
    )
    text = (
        'title = "t"\nsource = "test"\nprotocol = "modbus"\n'
        f'[[span]]\ntable = "{table}"\nfirst = 0\nlast = 500\n{rows}'
        '[[register]]\nname = "q"\naddress = 400\nserves = "quantity"\ntype = "u16"\nquantity = "level"\n'
    )
    constant = Constant(kind="constant", value=1.0)
    node = FieldNode("n", 1, {"level": constant}, VibratingWire(), 1, Scenario())
    return ModbusDevice(device_id, parse_instrument(text, "t"), [node], 0)


def test_an_xrl_shows_gas_state_heartbeat_alarms_and_name_in_the_registers_of_its_manual(build_field, start_ns):
    field = build_field(XRL)
    later_ns = start_ns + 12_000_000_000
    words = _words(field, 100, 56, later_ns)
    assert words[:4] == bytes.fromhex("26012601")
    assert struct.unpack(">f", words[4:8]) == (0.75,)
    assert struct.unpack(">HHHH", words[8:16]) == (0, 0, 1, 2), "fault code, bits, state, heartbeat after 12 s"
    assert words[90:104].rstrip(b"\0") == b"Methane"
    assert _words(field, 10, 1, later_ns, function_code=4) == b"\0\1"


def test_half_of_a_float_is_answered_but_is_no_reading(build_field, start_ns):
    answer = _read(build_field(XRL), 3, 103, 1, start_ns)
    assert answer.payload == bytes((3, 2)) + struct.pack(">f", 0.75)[2:]
    assert answer.served == []


@pytest.mark.parametrize(
    ("function_code", "address", "count", "code"),
    [(3, 99, 2, 2), (3, 150, 10, 2), (4, 100, 1, 2), (3, 100, 0, 3), (3, 100, 126, 3), (6, 100, 1, 1)],
)
def test_a_read_that_no_register_answers_gets_the_standards_exception(
    build_field, start_ns, function_code, address, count, code
):
    answer = _read(build_field(XRL), function_code, address, count, start_ns)
    assert answer.payload == bytes((function_code | 0x80, code))


def test_nobody_answers_for_an_unknown_device_id(build_field, start_ns):
    assert _read(build_field(XRL), 3, 102, 2, start_ns, device_id=9) is None


def test_each_fault_shows_as_its_kind_says_and_is_over_when_it_is_over(build_field, start_ns):
    field = build_field(XRL)
    right = _read(field, 3, 102, 6, start_ns).payload
    seen = {}
    for at, (kind, more) in enumerate(
        [
            ("no_answer", {}),
            ("crc_error", {}),
            ("malformed", {}),
            ("modbus_exception", {"code": 6}),
            ("out_of_range", {"value": 150.0}),
            ("not_a_number", {}),
            ("warm_up", {}),
            ("inhibited", {}),
            ("calibration", {}),
            ("device_fault", {}),
        ],
        start=1,
    ):
        begin_ns = start_ns + at * 20_000_000_000
        _order(field, begin_ns, kind, **more)
        seen[kind] = _read(field, 3, 102, 6, begin_ns + 9_999_999_999)
        after = _read(field, 3, 102, 5, begin_ns + 10_000_000_000)
        assert after.payload[2:] == right[2:12], f"{kind} did not end"
    assert seen["no_answer"].payload is None
    assert seen["crc_error"].is_crc_wrong
    assert len(seen["malformed"].payload) == len(right) - 1
    assert seen["modbus_exception"].payload == bytes.fromhex("8306")
    assert struct.unpack(">f", seen["out_of_range"].payload[2:6]) == (150.0,)
    assert math.isnan(struct.unpack(">f", seen["not_a_number"].payload[2:6])[0])
    states = {kind: seen[kind].payload[10:12] for kind in ("warm_up", "inhibited", "calibration")}
    assert states == {"warm_up": b"\0\2", "inhibited": b"\0\3", "calibration": b"\0\x0c"}
    assert seen["device_fault"].payload[6:10] == struct.pack(">HH", 1201, 0x20)
    for kind in ("no_answer", "crc_error", "malformed", "modbus_exception"):
        assert not seen[kind].served, f"a reading that nobody can have got was noted as served: {kind}"


def test_a_frozen_device_repeats_value_and_heartbeat(build_field, start_ns):
    field = build_field(XRL.replace(_constant(0.75), 'kind = "drift"\nmean = 1.0\ndrift = 0.5\nnoise = 0.1'))
    _order(field, start_ns, "frozen")
    readings = {_words(field, 102, 6, start_ns + second * 1_000_000_000) for second in (0, 4, 9)}
    assert len(readings) == 1
    assert _words(field, 102, 6, start_ns + 11_000_000_000) not in readings


def test_a_fire_shows_in_the_detectors_register_and_absent_detectors_as_not_installed(build_field, start_ns):
    field = build_field(BUS + _node("notifier_modbus_gw", "fire_alarm", _constant(0), 1, "channel_index = 2\n"))
    assert _words(field, 0, 3, start_ns) == bytes.fromhex("00ff140000ff")
    fire = Fire(kind="fire", node="n", hold_s=5.0)
    field.execute(HappeningCommand(command="happen", order=fire), start_ns)
    assert _words(field, 0, 3, start_ns + 1) == bytes.fromhex("00ff0c1000ff")
    assert _words(field, 0, 3, start_ns + 5_000_000_000) == bytes.fromhex("00ff140000ff")
    _order(field, start_ns + 6_000_000_000, "device_fault")
    assert _words(field, 1, 1, start_ns + 7_000_000_000) == bytes.fromhex("3400")


def test_a_tank_gauge_tells_level_and_temperature_with_their_status_characters(build_field, start_ns):
    node = _node("enraf_990_smartradar", "level", _constant(7.25))
    field = build_field(BUS + node + "[bus.node.signal.temperature]\n" + _constant(18.5))
    words = _words(field, 0x1000, 10, start_ns)
    assert struct.unpack(">f", words[:4]) == (7.25,)
    assert words[4:6] == b"\0-"
    assert struct.unpack(">f", words[14:18]) == (18.5,)
    assert words[18:20] == b"\0-"
    _order(field, start_ns, "out_of_range", value=99.0)
    words = _words(field, 0x1000, 10, start_ns)
    assert (words[4:6], words[18:20]) == (b"\0C", b"\0-"), "only the level, the first quantity, is out of range"


def test_a_counter_grows_by_one_with_each_whole_undamaged_read_and_no_other(build_field, start_ns):
    field = build_field(XRL.replace(_constant(0.75), 'kind = "counter"\nfirst = 5.0\nlast = 8.0'))

    def read() -> float:
        return struct.unpack(">f", _words(field, 102, 2, start_ns))[0]

    assert [read(), read()] == [5.0, 6.0]
    _read(field, 3, 102, 1, start_ns)
    _words(field, 105, 1, start_ns)
    _order(field, start_ns, "no_answer")
    _read(field, 3, 102, 2, start_ns)
    assert [_words(field, 102, 2, start_ns + 10**11)[:4] for _ in range(3)] == [
        struct.pack(">f", value) for value in (7.0, 8.0, 5.0)
    ]


def test_the_time_at_which_a_leak_crosses_its_set_points_is_exact(build_field, start_ns):
    field = build_field(XRL.replace(_constant(0.75), 'kind = "drift"\nmean = 1.0\ndrift = 0.5\nnoise = 0.1'))
    leak = GasLeak(kind="gas_leak", node="n", peak=45.0, rise_s=25.0)
    command = HappeningCommand(command="happen", order=leak, set_points=(10.0, 25.0, 90.0))
    crossings = field.execute(command, start_ns)["crossings"]
    times_ns = [row["crossing_ns"] for row in crossings]
    assert times_ns[2] is None
    assert start_ns + 5_000_000_000 < times_ns[0] < times_ns[1] < start_ns + 25_000_000_000
    for set_point, time_ns in zip((10.0, 25.0), times_ns, strict=False):
        assert field.true_value("n", "methane_lel", time_ns) >= set_point
        assert field.true_value("n", "methane_lel", time_ns - 1) < set_point
        assert all(
            field.true_value("n", "methane_lel", start_ns + at * 10_000_000) < set_point
            for at in range((time_ns - start_ns) // 10_000_000)
        ), "it was crossed before"


def test_the_thermistor_inverts_its_equation_over_the_citys_temperatures():
    sensor = read_instruments()["geokon_3810a"].thermistor
    assert isinstance(sensor, Thermistor)
    # By its data sheet 10 kOhm at 25 °C; the manual's equation takes 273.2 for 273.15, which is 0.05 °C.
    assert sensor.resistance_ohm(24.95) == pytest.approx(10_000.0, rel=2e-4)
    for celsius in range(-40, 81):
        log_r = math.log(sensor.resistance_ohm(celsius))
        kelvin = 1.0 / (sensor.a + sensor.b * log_r + sensor.c * log_r**3 + sensor.d * log_r**5)
        assert kelvin - 273.2 == pytest.approx(celsius, abs=1e-9)


def test_every_instrument_names_its_source():
    for name, instrument in read_instruments().items():
        assert instrument.source.startswith(("http", "LS", "Geokon", "Honeywell", "captured")), name
        assert instrument.quantities, name
