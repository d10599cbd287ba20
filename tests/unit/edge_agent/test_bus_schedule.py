"""Whose turn it is on a line, on a simulated one: byte times at a baud rate, silences, turn-round, time-outs."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from edge_agent.lines.bus_schedule import SILENT_SHARE, BusSchedule, DeviceRhythm


@dataclass
class Line:
    """An RS-485 line: 11 bits a character (MODBUS over Serial Line V1.02, 2.5.1), 3.5 characters between frames."""

    baud_rate: int
    registers: int = 10
    turn_round_s: float = 0.003
    timeout_s: float = 0.3

    @property
    def character_s(self) -> float:
        return 11.0 / self.baud_rate

    @property
    def silent_s(self) -> float:
        return 0.00175 if self.baud_rate > 19200 else 3.5 * self.character_s

    def exchange_s(self, is_answered: bool) -> float:
        asked_s = 8 * self.character_s + self.silent_s
        if not is_answered:
            return asked_s + self.timeout_s
        return asked_s + self.turn_round_s + (5 + 2 * self.registers) * self.character_s + self.silent_s


@dataclass
class Run:
    """What happened on the line."""

    polled_at: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Times of answers by device."""
    probed_at: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    busy_s: float = 0.0

    def p99_period_s(self, devices, from_s: float = 0.0) -> float:
        periods = sorted(
            later - earlier
            for device in devices
            for earlier, later in zip(self.polled_at[device], self.polled_at[device][1:], strict=False)
            if earlier >= from_s
        )
        return periods[math.ceil(0.99 * len(periods)) - 1]


def run_line(line: Line, rhythms: list[DeviceRhythm], is_dead, end_s: float) -> Run:
    """Lets a schedule drive the line; `is_dead(device, time)`."""
    chance = random.Random(1)
    schedule = BusSchedule(rhythms, 0.0, line.timeout_s)
    run = Run()
    now_s = 0.0
    while now_s < end_s:
        turn = schedule.next_turn(now_s)
        if turn.device is None:
            assert turn.until_s > now_s, "an idle line must wait for something to come"
            now_s = turn.until_s
            continue
        is_answered = not is_dead(turn.device, now_s)
        begun_s, now_s = now_s, now_s + line.exchange_s(is_answered)
        (run.polled_at if is_answered else run.probed_at)[turn.device].append(now_s)
        run.busy_s += line.exchange_s(True) if is_answered else 0.0
        schedule.note(turn.device, begun_s, now_s, is_answered, chance.random())
    return run


def rhythms(count: int, interval_s: float) -> list[DeviceRhythm]:
    return [DeviceRhythm(interval_s, probe_max_s=10.0)] * count


DEAD = frozenset({3, 9, 14, 22, 29})
LIVING = [device for device in range(30) if device not in DEAD]


@pytest.mark.parametrize(("baud_rate", "interval_s"), [(9600, 2.0), (9600, 1.8), (19200, 1.0), (115200, 1.0)])
@pytest.mark.parametrize("dies_s", [0.0, 60.0], ids=["dead from the start", "dead later"])
def test_5_dead_of_30_lengthen_the_living_ones_p99_period_by_less_than_a_tenth(baud_rate, interval_s, dies_s):
    line = Line(baud_rate)
    well = run_line(line, rhythms(30, interval_s), lambda _device, _now: False, 900.0)
    ill = run_line(line, rhythms(30, interval_s), lambda device, now: device in DEAD and now >= dies_s, 900.0)
    before_s, after_s = well.p99_period_s(LIVING), ill.p99_period_s(LIVING)
    assert after_s < 1.1 * before_s, f"{before_s:.3f} s became {after_s:.3f} s"


@pytest.mark.parametrize(("baud_rate", "interval_s"), [(9600, 2.0), (9600, 1.2), (115200, 1.0), (115200, 0.1)])
def test_a_revived_device_is_noticed_within_30_seconds_even_on_a_full_line(baud_rate, interval_s):
    for revived_s in (100.0, 117.0, 131.0):
        line = Line(baud_rate)
        run = run_line(
            line, rhythms(30, interval_s), lambda device, now, at=revived_s: device in DEAD and now < at, 170.0
        )
        for device in DEAD:
            noticed_s = next(when for when in run.polled_at[device] if when >= revived_s) - revived_s
            assert noticed_s < 30.0, f"device {device} after {noticed_s:.1f} s"


@pytest.mark.parametrize("baud_rate", [9600, 115200])
def test_a_line_that_is_asked_for_more_than_it_can_carry_is_busy_all_the_time(baud_rate):
    run = run_line(Line(baud_rate), rhythms(30, 0.01), lambda _device, _now: False, 60.0)
    assert run.busy_s > 0.99 * 60.0
    counts = [len(run.polled_at[device]) for device in range(30)]
    assert max(counts) - min(counts) <= 2, "nobody starves"


def test_dead_devices_on_a_full_line_take_no_more_than_their_share_of_it():
    line = Line(9600)
    run = run_line(line, rhythms(30, 0.5), lambda device, _now: device in DEAD, 600.0)
    lost_s = sum(line.exchange_s(False) for times in run.probed_at.values() for when in times if when > 60.0)
    assert lost_s < 1.2 * SILENT_SHARE * 540.0


def test_of_those_that_are_due_the_nearest_deadline_goes_first():
    mixed = [DeviceRhythm(10.0, 10.0), DeviceRhythm(1.0, 10.0), DeviceRhythm(0.5, 10.0)]
    line = Line(9600)
    run = run_line(line, mixed, lambda _device, _now: False, 60.0)
    assert [len(run.polled_at[device]) for device in range(3)] == [6, 60, 120]
    worst_s = max(later - earlier for earlier, later in zip(run.polled_at[2], run.polled_at[2][1:], strict=False))
    assert worst_s < 0.5 + 2 * line.exchange_s(True)


def test_a_device_that_answers_stays_on_its_grid_and_missed_turns_are_left_out():
    schedule = BusSchedule(rhythms(1, 1.0), 10.0, 0.3)
    assert schedule.next_turn(10.0).device == 0
    schedule.note(0, 10.0, 10.2, is_answered=True)
    assert schedule.next_turn(10.2).until_s == 11.0
    schedule.note(0, 11.0, 14.5, is_answered=True)
    assert schedule.next_turn(14.5).until_s == 15.0


def test_a_silent_device_is_probed_ever_more_rarely_but_within_the_limit_and_comes_back_at_once():
    schedule = BusSchedule(rhythms(1, 1.0), 0.0, 0.3)
    now_s, waits = 0.0, []
    for _ in range(8):
        schedule.note(0, now_s, now_s, is_answered=False)
        until_s = schedule.next_turn(now_s).until_s
        waits.append(until_s - now_s)
        now_s = until_s
    assert waits == [1.0, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert schedule.silent_polls(0) == 8
    schedule.note(0, now_s, now_s, is_answered=True)
    assert schedule.silent_polls(0) == 0
    assert schedule.next_turn(now_s).until_s == now_s + 1.0


def test_jitter_only_shortens_a_probe():
    schedule = BusSchedule(rhythms(1, 1.0), 0.0, 0.3)
    for _ in range(20):
        schedule.note(0, 0.0, 0.0, is_answered=False, fraction=1.0)
    assert schedule.due_s(0) == pytest.approx(8.0)


def test_one_lost_answer_of_a_living_device_costs_it_one_turn_and_no_more():
    lost = iter([True])
    run = run_line(
        Line(9600), rhythms(10, 1.0), lambda device, now: device == 4 and now > 20.0 and next(lost, False), 60.0
    )
    assert len(run.polled_at[4]) >= 58
