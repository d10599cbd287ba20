"""One Modbus device: polls its registers, learns what it refuses, and gives each channel its value and quality. Pure.

A poll sends the planned requests. One that is refused (exception 2 or 3) and never worked is searched for its illegal
places at once (refusal_search.py), and the plan is made anew around them; what was learnt is told to the memory of
the device's model. An illegal place is asked about again from time to time, alone: it may have been a passing refusal,
or a module that is plugged in later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.quality import Reason
from edge_agent.lines.calibration import Conversion
from edge_agent.lines.poll_step import (
    SILENCES,
    Answer,
    ModbusRequest,
    Outcome,
    Poll,
    Request,
    bounds_of,
    conversion_of,
    judge_number,
)
from edge_agent.modbus.refusal_search import Verdict, search_refusal
from edge_agent.modbus.register_field import BlockDecoder, Field, build_block_decoder
from edge_agent.modbus.register_limits import LimitMemory, RegisterLimits
from edge_agent.modbus.register_plan import SERIAL_REQUEST_COST, Read, illegal_fields, plan_reads, read_of
from edge_agent.modbus.register_profile import ModbusProfile, RegisterChannel, StateRegister
from edge_agent.settings.configuration import ModbusNodeSettings

NARROW_AGAIN_S: Final = 60.0
"""A device that refused even the smallest requests is not searched again for so long."""
REFUSALS_OF_PROVEN: Final = 3
"""A request that has worked is searched only after it was refused in so many polls in a row."""
PROBE_FIRST_S: Final = 30.0
PROBE_LONGEST_S: Final = 3600.0
"""An illegal place is asked about again after the first time, then ever more rarely up to the second."""
FIRST_PROBES_PER_POLL: Final = 16
"""So many places that are only known illegal from another device of the model are tried in one poll."""
_REFUSALS: Final = frozenset({Reason.MODBUS_ILLEGAL_ADDRESS, Reason.MODBUS_ILLEGAL_VALUE})

_Place = tuple[int, int, int]
"""Function code, first address, end."""
_Asking = Generator[Request, Answer, bool]
"""Part of a poll. Returns False if the device fell silent."""


@dataclass(slots=True)
class _Heartbeat:
    """When a register last changed."""

    stale_after_s: float
    register: int | None = None
    changed_s: float = 0.0

    def beat(self, register: int, now_s: float) -> Reason:
        """Takes what the register holds now; says whether it still lives."""
        if register != self.register:
            self.register = register
            self.changed_s = now_s
        return Reason.STALE if now_s - self.changed_s > self.stale_after_s else Reason.OK


@dataclass(frozen=True, slots=True)
class _ChannelPlan:
    alias: int
    field_at: int
    """Which of the device's fields holds the value."""
    convert: Conversion | None
    low: float
    high: float
    states: tuple[tuple[int, StateRegister], ...]
    heartbeat: tuple[int, _Heartbeat] | None

    @property
    def is_plain(self) -> bool:
        """Whether its number is its value."""
        return self.convert is None and not self.states and self.heartbeat is None


@dataclass(slots=True)
class _ReadPlan:
    """A request with the decoders of its fields, and whether the device has ever answered it."""

    read: Read
    request: ModbusRequest
    field_ats: tuple[int, ...]
    """Which of the device's fields the answer holds."""
    decode: BlockDecoder
    is_proven: bool = False
    refusals: int = 0
    """In a row, since it last worked."""


class _Cycle:
    """What one poll has brought so far."""

    __slots__ = ("failures", "has_numbers", "numbers")

    def __init__(self, failures: Sequence[Reason]) -> None:
        self.numbers: list[float | None] = [None] * len(failures)
        """By field; None: see `failures`."""
        self.failures = list(failures)
        self.has_numbers = False

    def take(self, plan: _ReadPlan, words: Sequence[int] | bytes) -> None:
        """An answer came."""
        plan.is_proven = self.has_numbers = True
        plan.refusals = 0
        numbers = self.numbers
        for field_at, number in zip(plan.field_ats, plan.decode(words), strict=True):
            numbers[field_at] = number

    def fail(self, plan: _ReadPlan, reason: Reason) -> None:
        """No answer came."""
        for field_at in plan.field_ats:
            self.failures[field_at] = reason

    def fall_silent(self, reason: Reason) -> None:
        """Nothing more comes; a device that said nothing at all is silent on every channel."""
        if not self.has_numbers:
            self.failures = [reason] * len(self.failures)


@dataclass(frozen=True, slots=True)
class _Probe:
    due_s: float
    wait_s: float

    def next(self, now_s: float) -> _Probe:
        wait_s = min(2.0 * self.wait_s, PROBE_LONGEST_S)
        return _Probe(now_s + wait_s, wait_s)


class ModbusDevice:
    """All nodes of one device id that are polled together."""

    def __init__(
        self,
        device_id: int,
        nodes: Sequence[tuple[ModbusNodeSettings, ModbusProfile, Mapping[str, int]]],
        memory: LimitMemory | None = None,
        request_cost: int = SERIAL_REQUEST_COST,
    ) -> None:
        """Plans the requests.

        Args:
            device_id: the Modbus device.
            nodes: settings, profile, and alias by quantity of each node on it.
            memory: what is known of device models, shared with the other devices.
            request_cost: of this line, in registers (register_plan.py); a profile's own goes before.
        """
        self.device_id = device_id
        self._field_at: dict[Field, int] = {}
        self._channels: list[_ChannelPlan] = []
        for settings, profile, aliases in nodes:
            self._channels += _plan_node(settings, profile, aliases, self._field_at)
        self._plain = [
            (one.alias, one.field_at, one.low if one.is_plain else math.inf, one.high) for one in self._channels
        ]
        """Alias, field, least and greatest number that needs no second look (none for a channel that is not plain)."""
        self._model = "+".join(sorted({settings.profile for settings, _, _ in nodes}))
        self._declared_longest = min(profile.max_registers for _, profile, _ in nodes)
        holes = [one.max_hole_registers for _, one, _ in nodes if one.max_hole_registers is not None]
        self._request_cost = min(holes, default=request_cost)
        self._memory = LimitMemory() if memory is None else memory
        self._probes: dict[_Place, _Probe] = {}
        self._narrow_from_s = -math.inf
        self._has_answered = False
        self._lost: ModbusRequest | None = None
        """The request that was not answered the last time."""
        self._plan: list[_ReadPlan] = []
        self._adopt_limits()

    @property
    def aliases(self) -> tuple[int, ...]:
        """The channels that a poll gives an outcome for."""
        return tuple(channel.alias for channel in self._channels)

    @property
    def reads(self) -> tuple[Read, ...]:
        """The requests of a poll, as learnt so far."""
        return tuple(plan.read for plan in self._plan)

    def poll(self, now_s: float) -> Poll:
        """Asks for everything; `now_s` is a monotonic clock, for the heartbeat and for learning."""
        if not self._has_answered and self._seen_revision != self._memory.revision:
            self._adopt_limits()
        cycle = _Cycle(self._failures)
        is_speaking = yield from self._ask_all(cycle, now_s)
        if is_speaking and cycle.has_numbers:
            self._has_answered = True
            if self._illegal:
                yield from self._probe_illegal(cycle, now_s)
        return self._judge_all(cycle, now_s)

    def _judge_all(self, cycle: _Cycle, now_s: float) -> list[Outcome]:
        """An outcome for each channel; most channels of most devices are plain numbers within their range."""
        numbers, ok = cycle.numbers, Reason.OK
        outcomes: list[Outcome] = []
        for channel, (alias, field_at, low, high) in zip(self._channels, self._plain, strict=True):
            number = numbers[field_at]
            if number is not None and low <= number <= high:
                outcomes.append((alias, float(number), ok))
            else:
                outcomes.append(_judge(channel, numbers, cycle.failures, now_s))
        return outcomes

    def _ask_all(self, cycle: _Cycle, now_s: float) -> _Asking:
        """The planned requests; searches those that are refused."""
        may_learn = now_s >= self._narrow_from_s
        before: RegisterLimits | None = None
        is_speaking = True
        waiting = self._plan[::-1]
        if self._lost is not None:
            # After a silence the lost question comes first: an answer that is late is then an answer to it.
            waiting.sort(key=lambda plan: plan.request == self._lost)
            self._lost = None
        while waiting and is_speaking:
            plan = waiting.pop()
            answer = yield plan.request
            if not isinstance(answer, Reason):
                cycle.take(plan, answer)
            elif answer in SILENCES:
                is_speaking = False
                self._lost = plan.request
                cycle.fall_silent(answer)
            elif may_learn and _is_to_search(plan, answer):
                before = before or self._limits.copy()
                is_speaking = yield from self._search(plan.read, cycle)
                waiting = self._build([field for one in waiting for field in one.read.fields])[::-1]
            else:
                cycle.fail(plan, answer)
        if before is not None:
            self._keep_learnt(before, cycle, now_s)
        return is_speaking

    def _search(self, read: Read, cycle: _Cycle) -> _Asking:
        """Finds what is refused in a request; all that is legal in it is read on the way."""
        search = search_refusal(read, self._limits)
        try:
            part = next(search)
            while True:
                plan = self._plan_of(part)
                answer = yield plan.request
                verdict = self._judge_part(plan, answer, cycle)
                if isinstance(answer, Reason) and answer in SILENCES:
                    self._lost = plan.request
                    cycle.fall_silent(answer)
                    return False
                part = search.send(verdict)
        except StopIteration:
            return True

    def _judge_part(self, plan: _ReadPlan, answer: Answer, cycle: _Cycle) -> Verdict:
        if not isinstance(answer, Reason):
            cycle.take(plan, answer)
            self._limits.note_answered(plan.read.function_code, plan.read.count)
            return Verdict.ANSWERED
        cycle.fail(plan, answer)
        return Verdict.REFUSED if answer in _REFUSALS else Verdict.FAILED

    def _keep_learnt(self, before: RegisterLimits, cycle: _Cycle, now_s: float) -> None:
        """Plans around what is refused; a device that refused everything taught nothing."""
        if not cycle.has_numbers:
            self._limits = before
            self._narrow_from_s = now_s + NARROW_AGAIN_S
            return
        self._memory.learn(self._model, before, self._limits)
        self._seen_revision = self._memory.revision
        known = self._illegal
        self._make_plan(cycle.failures)
        for place in self._illegal.keys() - known.keys():
            self._probes[place] = _Probe(now_s + PROBE_FIRST_S, PROBE_FIRST_S)

    def _probe_illegal(self, cycle: _Cycle, now_s: float) -> Generator[Request, Answer, None]:
        """Asks about illegal places alone: those never asked of this device at once, else one that is due."""
        due = [place for place in self._illegal if place not in self._probes][:FIRST_PROBES_PER_POLL]
        due = due or [place for place in self._illegal if self._probes[place].due_s <= now_s][:1]
        before = self._limits.copy() if due else self._limits
        for place in due:
            plan = self._plan_of(read_of(self._illegal[place]))
            self._probes[place] = self._probes.get(place, _Probe(0.0, PROBE_FIRST_S / 2.0)).next(now_s)
            answer = yield plan.request
            if isinstance(answer, Reason):
                cycle.fail(plan, answer)
                if answer in SILENCES:
                    break
                continue
            cycle.take(plan, answer)
            self._limits.forgive(*place)
        if before != self._limits:
            self._memory.learn(self._model, before, self._limits)
            self._make_plan(cycle.failures)

    def _adopt_limits(self) -> None:
        """Starts from what is known of the model."""
        self._limits = self._memory.limits_of(self._model)
        self._seen_revision = self._memory.revision
        for function_code in (3, 4):
            if self._declared_longest < self._limits.longest(function_code):
                self._limits.note_longest(function_code, self._declared_longest)
        self._make_plan([Reason.MODBUS_ILLEGAL_ADDRESS] * len(self._field_at))

    def _make_plan(self, failures: Sequence[Reason]) -> None:
        """New requests by the limits; `failures` say how illegal places were refused."""
        proven = {plan.request: plan for plan in self._plan if plan.is_proven}
        self._plan = [proven.get(plan.request, plan) for plan in self._build(list(self._field_at))]
        self._illegal: dict[_Place, list[Field]] = {}
        self._failures = [Reason.NO_ANSWER] * len(self._field_at)
        """What a channel has that was not asked for."""
        for one in illegal_fields(list(self._field_at), self._limits):
            self._illegal.setdefault((one.function_code, one.address, one.end), []).append(one)
            reason = failures[self._field_at[one]]
            self._failures[self._field_at[one]] = reason if reason in _REFUSALS else Reason.MODBUS_ILLEGAL_ADDRESS

    def _build(self, fields: Sequence[Field]) -> list[_ReadPlan]:
        return [self._plan_of(read) for read in plan_reads(fields, self._limits, self._request_cost)]

    def _plan_of(self, read: Read) -> _ReadPlan:
        return _ReadPlan(
            read,
            ModbusRequest(self.device_id, read.function_code, read.address, read.count),
            tuple(self._field_at[one] for one in read.fields),
            build_block_decoder([(one, one.address - read.address) for one in read.fields], read.count),
        )


def _is_to_search(plan: _ReadPlan, answer: Reason) -> bool:
    """Whether a failure is a refusal that must have its cause in the request."""
    if answer not in _REFUSALS:
        return False
    plan.refusals += 1
    return not plan.is_proven or plan.refusals >= REFUSALS_OF_PROVEN


def _plan_node(
    settings: ModbusNodeSettings, profile: ModbusProfile, aliases: Mapping[str, int], field_at: dict[Field, int]
) -> list[_ChannelPlan]:
    """The channels of a node; their fields get places in `field_at`."""
    shift = profile.address_shift(settings.channel_index)
    offset = settings.address_offset

    def place(wanted: Field) -> int:
        return field_at.setdefault(wanted, len(field_at))

    def place_state(state: StateRegister) -> int:
        return place(state.field(offset if state.is_shared else offset + shift))

    heartbeat = None
    if profile.heartbeat is not None:
        beat = profile.heartbeat.field(offset if profile.heartbeat.is_shared else offset + shift)
        heartbeat = (place(beat), _Heartbeat(profile.heartbeat.stale_after_s))
    plans = []
    for channel in profile.channel:
        low, high = bounds_of(channel)
        states = [(place_state(state), state) for state in profile.state if state.is_about(channel.quantity)]
        plans.append(
            _ChannelPlan(
                alias=aliases[channel.quantity],
                field_at=place(channel.field(offset + shift)),
                convert=register_conversion(channel, conversion_of(settings.calibration, channel)),
                low=low,
                high=high,
                states=tuple(states),
                heartbeat=heartbeat,
            )
        )
    return plans


def register_conversion(channel: RegisterChannel, calibrate: Conversion | None) -> Conversion | None:
    """From a channel's register to its value: match, codes or divisor, then the calibration. None: as it is."""
    match, divisor = channel.match, channel.raw_divisor
    first: Callable[[float], float] | None = None
    if match is not None:
        return lambda raw: float(int(raw) & match.mask in match.equals)
    if channel.code:
        value_of = {number: code.value for code in channel.code for number in code.equals}
        first = lambda raw: value_of.get(int(raw), math.nan)  # noqa: E731
    elif divisor != 1.0:
        first = lambda raw: raw / divisor  # noqa: E731
    if first is None or calibrate is None:
        return first or calibrate
    return lambda raw: calibrate(first(raw))


def _judge(channel: _ChannelPlan, numbers: Sequence[float | None], failures: Sequence[Reason], now_s: float) -> Outcome:
    number = numbers[channel.field_at]
    if number is None:
        return channel.alias, None, failures[channel.field_at]
    reason = Reason.OK
    for field_at, state in channel.states:
        register = numbers[field_at]
        if register is None:
            return channel.alias, None, failures[field_at]
        if reason is Reason.OK:
            reason = state.reason_of(int(register))
    if channel.heartbeat is not None:
        field_at, heartbeat = channel.heartbeat
        register = numbers[field_at]
        if register is None:
            return channel.alias, None, failures[field_at]
        if heartbeat.beat(int(register), now_s) is not Reason.OK:
            reason = Reason.STALE
    return judge_number(channel.alias, number, channel.convert, channel.low, channel.high, reason)
