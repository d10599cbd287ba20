"""Each shipped profile, fed register images: values, and what the instrument says of itself as quality."""

import struct

import pytest

from contracts.quality import Reason
from edge_agent.lines.device_poll import NARROW_AGAIN_S, ModbusDevice
from edge_agent.modbus.register_plan import SERIAL_REQUEST_COST
from edge_agent.settings.configuration import ModbusNodeSettings
from edge_agent.settings.load_profiles import load_profiles
from edge_agent.settings.plan_modbus import ModbusPlanner
from edge_agent.settings.profile import ModbusProfile

PROFILES = load_profiles()
STRAIN = {"strain": {"kind": "vibrating_wire", "gauge_factor": 4.062, "zero_frequency_hz": 900.0}}


def build(profile: str, places: tuple = (None,), **extra) -> ModbusDevice:
    nodes = []
    alias = 0
    for place in places:
        settings = ModbusNodeSettings.model_validate(
            {"node_id": f"n{alias}", "profile": profile, "device_id": 1, "channel_index": place, **extra}
        )
        fitted = PROFILES[profile].fitted(settings.measures)
        alias += len(fitted.channel)
        nodes.append((settings, fitted))
    return ModbusDevice(ModbusPlanner().plan_device(1, nodes, SERIAL_REQUEST_COST), range(1, alias + 1))


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


def outcome_of(profile: str, registers: dict[int, int], now_s: float = 0.0, **extra):
    (outcome,) = poll(build(profile, **extra), RegisterImage(registers).answer, now_s)[:1]
    return outcome[1:]


def table(first: int, count: int, **values: int) -> dict[int, int]:
    """Registers that are all 0 except of those named by their address: a7=1."""
    return dict.fromkeys(range(first, first + count), 0) | {int(name[1:]): value for name, value in values.items()}


HIGH, LOW = f32(2.5)


@pytest.mark.parametrize(
    ("state", "expected"), [(1, Reason.OK), (2, Reason.WARM_UP), (3, Reason.INHIBITED), (12, Reason.CALIBRATION)]
)
def test_the_searchlines_reading_and_operating_state(state, expected):
    registers = table(0, 40, a2=HIGH, a3=LOW, a6=state, a7=1)
    assert outcome_of("honeywell_searchline_excel_plus", registers) == (2.5, expected)


@pytest.mark.parametrize(
    ("fault", "state", "expected"),
    [
        (0, 1, Reason.OK),
        (7, 1, Reason.OK),
        (1103, 1, Reason.DEVICE_FAULT),
        (0, 2, Reason.WARM_UP),
        (0, 3, Reason.INHIBITED),
        (0, 12, Reason.CALIBRATION),
    ],
)
def test_the_xcds_faults_count_from_1100(fault, state, expected):
    registers = table(0, 60, a2=HIGH, a3=LOW, a4=fault, a6=state)
    assert outcome_of("honeywell_sensepoint_xcd_rfd", registers, measures="carbon_monoxide") == (2.5, expected)


@pytest.mark.parametrize(
    ("packed", "expected"),
    [
        (0x0001, Reason.OK),
        (0x00C1, Reason.OK),  # both alarms: a value, not a quality
        (0x0011, Reason.OK),  # maintenance fault
        (0x0021, Reason.DEVICE_FAULT),
        (0x0000, Reason.WARM_UP),
        (0x0002, Reason.INHIBITED),
        (0x0004, Reason.INHIBITED),
        (0x0005, Reason.CALIBRATION),
        (0x0008, Reason.CALIBRATION),
        (0x000F, Reason.DEVICE_FAULT),
    ],
)
def test_the_midas_packs_its_states_into_one_register(packed, expected):
    registers = {0: packed, 1: 0, 2: HIGH, 3: LOW}
    assert outcome_of("honeywell_midas", registers, measures="hydrogen_sulfide") == (2.5, expected)


def test_the_midas_toggles_a_bit_and_a_bit_that_stands_still_is_stale():
    device = build("honeywell_midas", measures="oxygen")
    reasons = []
    for now_s, beat in [(0.0, 0), (2.0, 0x800), (4.0, 0), (9.0, 0), (10.1, 0), (11.0, 0x800)]:
        image = RegisterImage({0: 1 | beat, 1: 0, 2: HIGH, 3: LOW})
        reasons.append(poll(device, image.answer, now_s)[0][2])
    assert reasons == [Reason.OK, Reason.OK, Reason.OK, Reason.OK, Reason.STALE, Reason.OK]


def test_the_polytrons_value_of_its_manual():
    assert outcome_of("drager_polytron_8000", {506: 0x4220, 507: 0x0000}, measures="methane_lel") == (40.0, Reason.OK)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (0x00, Reason.OK),
        (0xE0, Reason.OK),  # low, mid and high alarm
        (0x01, Reason.DEVICE_FAULT),
        (0x10, Reason.WARM_UP),
        (0x04, Reason.CALIBRATION),
    ],
)
def test_the_ultimas_three_sensors_share_one_status_register_wherever_its_base_is(status, expected):
    device = build("msa_ultima_x3", places=(1, 3), measures="methane_lel", address_offset=1000)
    registers = table(1200, 20, a1200=status, a1206=HIGH, a1207=LOW, a1210=f32(7.5)[0], a1211=f32(7.5)[1])
    assert [row[1:] for row in poll(device, RegisterImage(registers).answer)] == [(2.5, expected), (7.5, expected)]


@pytest.mark.parametrize(
    ("state", "expected"),
    [(0x20, Reason.OK), (0x04, Reason.WARM_UP), (0x08, Reason.DEVICE_FAULT), (0x10, Reason.CALIBRATION)],
)
def test_the_5100_needs_the_nodes_scale_and_tells_its_state_in_bits(state, expected):
    scale = {"methane_lel": {"kind": "linear", "scale": 0.1}}
    registers = table(0, 23, a0=123, a22=state)
    value, reason = outcome_of("gm_5100_02_it", registers, measures="methane_lel", calibration=scale)
    assert (value, reason) == (pytest.approx(12.3), expected)


def test_the_sf6_transmitters_published_registers():
    outcomes = poll(build("sf6_o2_cn"), RegisterImage({0: 0x0BE8, 1: 0x1409}).answer)
    assert [row[1:] for row in outcomes] == [(3048.0, Reason.OK), (20.9, Reason.OK)]


def made_up(**channel) -> ModbusDevice:
    """A device with one channel of a profile that only this test knows."""
    row = {"quantity": "pressure", "address": 0} | channel
    profile = ModbusProfile.model_validate(
        {"protocol": "modbus", "title": "t", "source": "made up for this test", "channel": [row]}
    )
    settings = ModbusNodeSettings(node_id="n", profile="p", device_id=1)
    return ModbusDevice(ModbusPlanner().plan_device(1, [(settings, profile)], SERIAL_REQUEST_COST), [1])


def test_an_enumeration_gives_each_code_its_value_and_an_unknown_one_none():
    code = [{"equals": [3, 4], "value": 10.0, "text": "low"}, {"equals": [9], "value": 20.0}]
    for register, expected in [(3, (10.0, Reason.OK)), (4, (10.0, Reason.OK)), (9, (20.0, Reason.OK))]:
        assert poll(made_up(code=code), RegisterImage({0: register}).answer)[0][1:] == expected
    assert poll(made_up(code=code), RegisterImage({0: 5}).answer)[0][1:] == (None, Reason.OUT_OF_RANGE)


def test_coils_and_discrete_inputs_are_channels_too():
    asked = []
    device = made_up(function_code=2, type="bit", address=17)
    assert poll(device, lambda request: asked.append(request) or [1])[0][1:] == (1.0, Reason.OK)
    assert (asked[0].function_code, asked[0].address, asked[0].count) == (2, 17, 1)


@pytest.mark.parametrize(
    ("channel", "fault"),
    [
        ({"function_code": 1, "type": "u16"}, "function code 1 reads no u16"),
        ({"type": "bit"}, "function code 3 reads no bit"),
        ({"type": "f32", "mask": 3}, "not of f32"),
        ({"raw_divisor": 10.0, "match": {"mask": 1, "equals": [1]}}, "at most one of"),
        ({"choices": ["pressure", "love"]}, "love"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_with_its_fault(channel, fault):
    with pytest.raises(ValueError, match=fault):
        made_up(**channel)


def test_after_a_silence_the_lost_question_is_the_first_one_that_is_asked():
    device = build("notifier_modbus_gw", places=("L1D1", "L3D1", "L5D1"))
    asked = []

    def answer(request):
        asked.append(request.address)
        return Reason.NO_ANSWER if len(asked) == 2 else [0] * request.count

    poll(device, answer)
    assert asked == [0, 800]
    asked[:] = [None] * 9
    poll(device, answer)
    assert asked[9:] == [800, 0, 1600]


def test_a_device_behind_a_gateway_that_cannot_reach_it_is_asked_once_a_poll():
    device = build("notifier_modbus_gw", places=("L1D1", "L3D1", "L5D1"))
    asked = []
    outcomes = poll(device, lambda request: asked.append(request) or Reason.MODBUS_GATEWAY_UNAVAILABLE)
    assert len(asked) == 1
    assert {reason for _, _, reason in outcomes} == {Reason.MODBUS_GATEWAY_UNAVAILABLE}
