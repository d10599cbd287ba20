"""Devices that refuse: what is learnt, how fast, and that no legal channel is ever lost for an illegal neighbour."""

from __future__ import annotations

import random

import pytest

from contracts.quality import Reason
from edge_agent.modbus.modbus_device import NARROW_AGAIN_S, PROBE_FIRST_S, ModbusDevice
from edge_agent.modbus.register_limits import LimitMemory
from edge_agent.modbus.register_plan import SERIAL_REQUEST_COST
from edge_agent.settings.configuration import ModbusNodeSettings
from edge_agent.settings.plan_modbus import ModbusPlanner
from edge_agent.settings.profile import ModbusProfile

NOT_ALLOWED = {"protocol": "modbus", "title": "t", "source": "made up for this test"}


def build(addresses: list[int], memory: LimitMemory | None = None, **settings) -> ModbusDevice:
    """A device with one pressure channel at each address; its alias is the address + 1."""
    channel = {"quantity": "pressure", "address": 0, "type": "u16"}
    profile = ModbusProfile.model_validate(
        NOT_ALLOWED | {"channel": [channel], "repeat": [{"base": 0, "first": 0, "last": 9999}]} | settings
    )
    nodes = []
    for address in addresses:
        node = ModbusNodeSettings(node_id=f"n{address}", profile="meter", device_id=1, channel_index=address)
        nodes.append((node, profile))
    plan = ModbusPlanner().plan_device(1, nodes, SERIAL_REQUEST_COST)
    return ModbusDevice(plan, [address + 1 for address in addresses], memory)


class Meter:
    """A device with illegal registers, a longest answer and borders that no request may cross."""

    def __init__(self, illegal=(), longest: int = 125, borders=()) -> None:
        self.illegal = set(illegal)
        self.longest = longest
        self.borders = set(borders)
        self.requests: list[tuple[int, int]] = []

    def answer(self, request):
        self.requests.append((request.address, request.count))
        wanted = range(request.address, request.address + request.count)
        if request.count > self.longest:
            return Reason.MODBUS_ILLEGAL_VALUE
        if self.illegal.intersection(wanted) or self.borders.intersection(wanted[1:]):
            return Reason.MODBUS_ILLEGAL_ADDRESS
        return [address % 1000 for address in wanted]

    def poll(self, device: ModbusDevice, now_s: float = 0.0) -> dict[int, Reason]:
        """Reason by address."""
        self.requests.clear()
        steps = device.poll(now_s)
        try:
            request = next(steps)
            while True:
                request = steps.send(self.answer(request))
        except StopIteration as stop:
            for alias, value, reason in stop.value:
                assert (value == (alias - 1) % 1000) if reason is Reason.OK else value is None
            return {alias - 1: reason for alias, _, reason in stop.value}


def legal(reasons: dict[int, Reason]) -> set[int]:
    return {address for address, reason in reasons.items() if reason is Reason.OK}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("hidden", ["among the channels", "between the channels"])
def test_300_channels_with_5_hidden_illegal_registers_need_12_requests_from_the_third_poll_on(seed, hidden):
    chance = random.Random(seed)
    if hidden == "among the channels":
        addresses = list(range(300))
        meter = Meter(illegal=chance.sample(addresses, 5))
    else:
        space = list(range(330))
        holes = sorted(chance.sample(space[1:-1], 30))
        addresses = [address for address in space if address not in holes]
        meter = Meter(illegal=chance.sample(holes, 5))
    device = build(addresses)
    counts = []
    for now_s in range(8):
        reasons = meter.poll(device, float(now_s))
        counts.append(len(meter.requests))
        assert legal(reasons) == set(addresses) - meter.illegal, "no legal channel is lost, not even while learning"
        assert {reasons[one] for one in meter.illegal & set(addresses)} <= {Reason.MODBUS_ILLEGAL_ADDRESS}
    assert max(counts[3:]) <= 12, counts
    assert counts[3] == counts[7]
    assert sum(counts[:3]) < 150, f"learning took {counts}"


@pytest.mark.parametrize("longest", [1, 2, 5, 16, 20, 50, 64, 100, 124])
def test_the_longest_answer_of_a_device_is_found_exactly(longest):
    meter = Meter(longest=longest)
    device = build(list(range(300)))
    for now_s in range(3):
        assert len(legal(meter.poll(device, float(now_s)))) == 300
    assert len(meter.requests) == -(-300 // longest)


@pytest.mark.parametrize("seed", range(10))
def test_short_answers_and_illegal_registers_together_lose_nothing(seed):
    chance = random.Random(seed)
    meter = Meter(illegal=chance.sample(range(300), 5), longest=40, borders=chance.sample(range(1, 300), 2))
    device = build(list(range(300)))
    for now_s in range(4):
        assert legal(meter.poll(device, float(now_s))) == set(range(300)) - meter.illegal
    assert len(meter.requests) <= 16  # 8 pieces, none longer than 40
    steady = list(meter.requests)
    meter.poll(device, 5.0)
    assert meter.requests == steady


def test_a_border_is_learnt_as_one_and_not_as_a_length():
    meter = Meter(borders={30})
    device = build(list(range(100)))
    for now_s in range(3):
        assert len(legal(meter.poll(device, float(now_s)))) == 100
    assert meter.requests == [(0, 30), (30, 70)]


def test_the_second_device_of_a_model_does_not_learn_again_nor_after_a_restart():
    memory = LimitMemory()
    meter = Meter(illegal=[7, 150, 151], longest=60)
    first = build(list(range(300)), memory)
    for now_s in range(3):
        meter.poll(first, float(now_s))
    steady = len(meter.requests)
    second = build(list(range(300)), memory)
    assert legal(meter.poll(second, 0.0)) == set(range(300)) - meter.illegal
    assert len(meter.requests) == steady + 3, "each illegal register is asked about once: this one may have it"
    meter.poll(second, 1.0)
    assert len(meter.requests) == steady


def test_another_firmware_of_the_model_that_has_the_register_keeps_it():
    memory = LimitMemory()
    old, new = Meter(illegal=[7]), Meter()
    first, second = build(list(range(20)), memory), build(list(range(20)), memory)
    assert 7 not in legal(old.poll(first))
    assert 7 in legal(new.poll(second))
    assert new.requests != [(0, 20)]
    new.poll(second, 1.0)
    assert new.requests == [(0, 20)]
    assert legal(old.poll(first, 1.0)) == set(range(20)) - {7}, "and the old one is not asked in vain"
    assert old.requests == [(0, 7), (8, 12)]


def test_a_device_that_was_built_before_its_model_was_learnt_profits_too():
    memory = LimitMemory()
    meter = Meter(illegal=[100])
    first, second = build(list(range(125)), memory), build(list(range(125)), memory)
    meter.poll(first)
    learning = len(meter.requests)
    meter.poll(second)
    assert len(meter.requests) == 3 < learning


def test_a_passing_refusal_of_a_fresh_plan_teaches_nothing():
    device = build(list(range(100)))
    meter = Meter()
    refusals = iter([Reason.MODBUS_ILLEGAL_ADDRESS])
    usual = meter.answer
    meter.answer = lambda request: next(refusals, None) or usual(request)
    assert len(legal(meter.poll(device))) == 100
    meter.poll(device, 1.0)
    assert meter.requests == [(0, 100)]


def test_an_illegal_register_is_asked_about_again_ever_more_rarely_and_comes_back():
    device = build(list(range(10)))
    meter = Meter(illegal=[4])
    asked = []
    for now_s in range(400):
        meter.poll(device, float(now_s))
        if (4, 1) in meter.requests and now_s:
            asked.append(now_s)
    assert asked[0] == PROBE_FIRST_S
    assert len(asked) == 3
    meter.illegal.clear()
    while 4 not in legal(meter.poll(device, float(now_s))):
        now_s += 1
        assert now_s < 1000
    meter.poll(device, now_s + 1.0)
    assert meter.requests == [(0, 10)]


def test_a_table_that_shrinks_under_a_running_agent_is_learnt_after_three_refusals():
    device = build(list(range(10)))
    meter = Meter()
    meter.poll(device)
    meter.illegal = {9}
    lost = [len(legal(meter.poll(device, float(now_s)))) for now_s in range(1, 5)]
    assert lost == [0, 0, 9, 9]


def test_silence_in_the_middle_of_a_search_keeps_what_was_learnt_so_far():
    device = build(list(range(100)))
    meter = Meter(illegal=[60])
    usual, said = meter.answer, []

    def fall_silent(request):
        said.append(request)
        return Reason.NO_ANSWER if len(said) > 6 else usual(request)

    meter.answer = fall_silent
    reasons = meter.poll(device)
    assert legal(reasons), "what was answered before the silence is there"
    meter.answer = usual
    assert legal(meter.poll(device, 1.0)) == set(range(100)) - {60}


def test_a_corrupt_frame_in_the_middle_of_a_search_is_no_refusal():
    device = build(list(range(100)))
    meter = Meter(illegal=[60])
    usual, said = meter.answer, []

    def garble(request):
        said.append(request)
        return Reason.CRC_ERROR if len(said) == 5 else usual(request)

    meter.answer = garble
    meter.poll(device)
    assert legal(meter.poll(device, 1.0)) == set(range(100)) - {60}


def test_a_device_that_refuses_everything_is_searched_once_a_minute_and_teaches_its_model_nothing():
    memory = LimitMemory()
    device = build(list(range(30)), memory)
    meter = Meter(illegal=range(30))
    assert set(meter.poll(device).values()) == {Reason.MODBUS_ILLEGAL_ADDRESS}
    assert memory.revision == 0
    meter.poll(device, 1.0)
    assert meter.requests == [(0, 30)]
    meter.illegal.clear()
    assert len(legal(meter.poll(device, NARROW_AGAIN_S + 1.0))) == 30


def test_what_the_profile_says_of_the_longest_request_is_kept():
    meter = Meter(longest=10)
    meter.poll(build(list(range(30)), max_registers=10))
    assert meter.requests == [(0, 10), (10, 10), (20, 10)]
