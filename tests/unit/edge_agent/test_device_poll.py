"""Each shipped profile, fed register images: values, and what the instrument says of itself as quality."""

import struct

import pytest

from contracts.quality import Reason
from edge_agent.configuration import ModbusNodeSettings
from edge_agent.device_poll import NARROW_AGAIN_S, ModbusDevice
from edge_agent.load_profiles import load_profiles

PROFILES = load_profiles()
STRAIN = {"strain": {"kind": "vibrating_wire", "gauge_factor": 4.062, "zero_frequency_hz": 900.0}}


def build(profile: str, places: tuple = (None,), **extra) -> ModbusDevice:
    nodes = []
    alias = 0
    for place in places:
        settings = ModbusNodeSettings.model_validate(
            {"node_id": f"n{alias}", "profile": profile, "device_id": 1, "channel_index": place, **extra}
        )
        aliases = {}
        for channel in PROFILES[profile].channel:
            alias += 1
            aliases[channel.quantity] = alias
        nodes.append((settings, PROFILES[profile], aliases))
    return ModbusDevice(1, nodes)


class RegisterImage:
    """A device's registers by address; the others do not exist."""

    def __init__(self, registers: dict[int, int]) -> None:
        self.registers = registers
        self.requests = []

    def answer(self, request):
        self.requests.append((request.address, request.count))
        wanted = range(request.address, request.address + request.count)
        if any(address not in self.registers for address in wanted):
            return Reason.MODBUS_ILLEGAL_ADDRESS
        return [self.registers[address] for address in wanted]


def poll(device, answer, now_s: float = 0.0) -> list:
    steps = device.poll(now_s)
    try:
        request = next(steps)
        while True:
            request = steps.send(answer(request))
    except StopIteration as stop:
        return stop.value


def f32(value: float) -> tuple[int, int]:
    return struct.unpack(">HH", struct.pack(">f", value))


def xrl(value: float = 1.5, fault: int = 0, bits: int = 0, state: int = 1, heartbeat: int = 1) -> dict[int, int]:
    high, low = f32(value)
    return {102: high, 103: low, 104: fault, 105: bits, 106: state, 107: heartbeat}


def test_the_gas_detector_is_one_request():
    image = RegisterImage(xrl(12.5))
    assert poll(build("honeywell_sensepoint_xrl"), image.answer) == [(1, 12.5, Reason.OK)]
    assert image.requests == [(102, 6)]


@pytest.mark.parametrize(
    ("registers", "expected"),
    [
        (xrl(state=2), Reason.WARM_UP),
        (xrl(state=3), Reason.INHIBITED),
        (xrl(state=12), Reason.CALIBRATION),
        (xrl(state=7), Reason.DEVICE_FAULT),
        (xrl(fault=1203), Reason.DEVICE_FAULT),
        (xrl(fault=12), Reason.OK),
        (xrl(bits=0x20), Reason.DEVICE_FAULT),
        (xrl(bits=0x40), Reason.DEVICE_FAULT),
        (xrl(bits=0x13), Reason.OK),
        (xrl(value=100.5), Reason.OUT_OF_RANGE),
        (xrl(value=-0.5), Reason.OUT_OF_RANGE),
    ],
)
def test_what_the_gas_detector_says_of_itself_is_quality_and_the_value_is_kept(registers, expected):
    ((_, value, reason),) = poll(build("honeywell_sensepoint_xrl"), RegisterImage(registers).answer)
    assert reason is expected
    assert value is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_no_value(value):
    answer = RegisterImage(xrl(value)).answer
    assert poll(build("honeywell_sensepoint_xrl"), answer) == [(1, None, Reason.NOT_A_NUMBER)]


def test_a_heartbeat_that_stands_still_makes_the_value_stale_until_it_beats_again():
    device = build("honeywell_sensepoint_xrl")
    reasons = []
    for now_s, heartbeat in [(0.0, 5), (10.0, 5), (15.0, 5), (15.5, 5), (16.0, 6), (30.0, 6)]:
        ((_, value, reason),) = poll(device, RegisterImage(xrl(heartbeat=heartbeat)).answer, now_s)
        reasons.append(reason)
        assert (value is None) == (reason is Reason.STALE)
    assert reasons == [Reason.OK, Reason.OK, Reason.OK, Reason.STALE, Reason.OK, Reason.OK]


def test_the_loggers_channels_are_one_request_and_an_empty_one_is_not_installed():
    device = build("winners_vtn416", places=(1, 2, 16), calibration=STRAIN)
    image = RegisterImage({100 + at: 0 for at in range(64)} | {100: 12569, 115: 13331})
    first, second, sixteenth = poll(device, image.answer)
    assert image.requests == [(100, 16)] or len(image.requests) == 2  # a hole of 13 registers may be bridged or not
    assert first == (1, pytest.approx(4.062 * (1256.9**2 - 900.0**2) * 1e-3), Reason.OK)
    assert second == (2, None, Reason.NOT_INSTALLED)
    assert sixteenth[1] == pytest.approx(4.062 * (1333.1**2 - 900.0**2) * 1e-3)


def test_the_thermistor_answer_of_the_manual_is_a_temperature():
    image = RegisterImage({0x0102: 0xC87C, 0x0103: 0x4628})  # 10802.121 ohm
    ((_, value, reason),) = poll(build("geokon_3810a"), image.answer)
    assert reason is Reason.OK
    assert value == pytest.approx(23.2, abs=0.3)


@pytest.mark.parametrize(
    ("register", "value", "reason"),
    [
        (0x1400, 0.0, Reason.OK),
        (0x0C10, 1.0, Reason.OK),
        (0x0CEA, 1.0, Reason.OK),
        (0x0CED, 1.0, Reason.OK),
        (0x2C10, 1.0, Reason.OK),  # fire and trouble together is a fire
        (0x0E10, 1.0, Reason.OK),  # and so is a fire on a point that is said to be disabled
        (0x0C40, 0.0, Reason.OK),  # supervisory
        (0x0010, 0.0, Reason.OK),  # an event type without the active bit
        (0x3400, 0.0, Reason.DEVICE_FAULT),
        (0x1200, 0.0, Reason.INHIBITED),
        (0x00FF, None, Reason.NOT_INSTALLED),
    ],
)
def test_the_fire_panels_point_register(register, value, reason):
    device = build("notifier_modbus_gw", places=("L1D12",))
    assert poll(device, RegisterImage({11: register}).answer) == [(1, value, reason)]


def test_the_fire_panels_places_have_their_addresses():
    device = build("notifier_modbus_gw", places=("L1D1", "L1M1", "L2D3", "L10M159"))
    assert [read.address for read in device.reads] == [0, 200, 402, 3958]


@pytest.mark.parametrize(
    ("level_status", "temperature_status", "expected"),
    [
        ("-", "-", (Reason.OK, Reason.OK)),
        ("?", "T", (Reason.OK, Reason.OK)),
        ("F", "-", (Reason.DEVICE_FAULT, Reason.OK)),
        ("C", "-", (Reason.OUT_OF_RANGE, Reason.OK)),
        ("B", "F", (Reason.INHIBITED, Reason.DEVICE_FAULT)),
        ("x", "x", (Reason.DEVICE_FAULT, Reason.DEVICE_FAULT)),
    ],
)
def test_the_tank_gauges_status_characters_speak_of_their_own_value(level_status, temperature_status, expected):
    level, temperature = f32(12.345), f32(18.5)
    registers = dict.fromkeys(range(0x1000, 0x1010), 0)
    registers |= {0x1000: level[0], 0x1001: level[1], 0x1002: ord(level_status)}
    registers |= {0x1007: temperature[0], 0x1008: temperature[1], 0x1009: ord(temperature_status)}
    outcomes = poll(build("enraf_990_smartradar"), RegisterImage(registers).answer)
    assert tuple(reason for _, _, reason in outcomes) == expected
    assert [value for _, value, _ in outcomes] == [pytest.approx(12.345), 18.5]


@pytest.mark.parametrize("reason", [Reason.NO_ANSWER, Reason.CRC_ERROR, Reason.MODBUS_DEVICE_BUSY])
def test_a_failure_is_no_value_with_its_own_reason_on_every_channel(reason):
    outcomes = poll(build("enraf_990_smartradar"), lambda _: reason)
    assert [(value, why) for _, value, why in outcomes] == [(None, reason), (None, reason)]


def test_silence_ends_the_poll_after_one_request():
    device = build("notifier_modbus_gw", places=("L1D1", "L2D1", "L3D1"))
    asked = []
    poll(device, lambda request: asked.append(request) or Reason.NO_ANSWER)
    assert len(asked) == 1


def test_an_illegal_neighbour_costs_no_legal_channel_and_is_learnt_once():
    device = build("notifier_modbus_gw", places=tuple(f"L1D{number}" for number in range(1, 13)))
    image = RegisterImage({address: 0x1400 for address in range(12) if address != 5})
    outcomes = poll(device, image.answer)
    bad = [alias for alias, _, reason in outcomes if reason is not Reason.OK]
    assert bad == [6]
    assert outcomes[5] == (6, None, Reason.MODBUS_ILLEGAL_ADDRESS)
    learning = len(image.requests)
    image.requests.clear()
    assert [row[2] for row in poll(device, image.answer)] == [row[2] for row in outcomes]
    assert len(image.requests) < learning
    assert (0, 12) not in image.requests


def test_a_device_that_refuses_everything_is_not_bisected_at_every_poll():
    device = build("notifier_modbus_gw", places=tuple(f"L1D{number}" for number in range(1, 13)))
    empty = RegisterImage({})
    poll(device, empty.answer, 0.0)
    empty.requests.clear()
    poll(device, empty.answer, 1.0)
    assert empty.requests == [(0, 12)]
    empty.requests.clear()
    poll(device, empty.answer, NARROW_AGAIN_S + 1.0)
    assert len(empty.requests) > 1


def test_a_request_that_has_worked_is_never_split_for_a_passing_refusal():
    device = build("honeywell_sensepoint_xrl")
    image = RegisterImage(xrl())
    poll(device, image.answer)
    poll(device, lambda _: Reason.MODBUS_ILLEGAL_ADDRESS)
    image.requests.clear()
    poll(device, image.answer)
    assert image.requests == [(102, 6)]
