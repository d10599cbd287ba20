"""One Modbus device: polls its registers, learns what it refuses, and gives each channel its value and quality. Pure.

A poll sends the planned requests. One that is refused (exception 2 or 3) and never worked is searched for its illegal
places at once (refusal_search.py), and the plan is made anew around them; what was learnt is told to the memory of
the device's model. An illegal place is asked about again from time to time, alone: it may have been a passing refusal,
or a module that is plugged in later.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.quality import Reason
from edge_agent.lines.poll_step import SILENCES, Answer, ModbusRequest, Poll, Request
from edge_agent.modbus.channel_judge import ChannelJudge, Heartbeat, JudgedChannel
from edge_agent.modbus.modbus_device_plan import HeartbeatPlan, ModbusDevicePlan
from edge_agent.modbus.refusal_search import Verdict, search_refusal
from edge_agent.modbus.register_field import BlockDecoder, Field, build_block_decoder
from edge_agent.modbus.register_limits import LimitMemory, RegisterLimits
from edge_agent.modbus.register_plan import Read, illegal_fields, plan_reads, read_of

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
class _ReadPlan:
    """A request with the decoders of its fields, and whether the device has ever answered it."""

    read: Read
    request: ModbusRequest
    field_ats: tuple[int, ...]
    """Which of the device's fields the answer holds."""
    run: slice | None
    """The same, if they follow one another: most devices' do."""
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
        if plan.run is not None:
            numbers[plan.run] = plan.decode(words)
            return
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

    def __init__(self, plan: ModbusDevicePlan, aliases: Sequence[int], memory: LimitMemory | None = None) -> None:
        """Plans the requests.

        Args:
            plan: what is to be read, and what it means.
            aliases: of the plan's channels, in their order.
            memory: what is known of device models, shared with the other devices.
        """
        self.device_id = plan.device_id
        self._field_at: dict[Field, int] = {}
        self._channels = _place_channels(plan, aliases, self._field_at)
        self._judge = ChannelJudge(self._channels)
        self._model = plan.model
        self._declared_longest = plan.max_registers
        self._request_cost = plan.request_cost
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
        return self._judge.judge(cycle.numbers, cycle.failures, now_s)

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
        field_ats = tuple(self._field_at[one] for one in read.fields)
        return _ReadPlan(
            read,
            ModbusRequest(self.device_id, read.function_code, read.address, read.count),
            field_ats,
            _run_of(field_ats),
            build_block_decoder([(one, one.address - read.address) for one in read.fields], read.count),
        )


def _run_of(places: tuple[int, ...]) -> slice | None:
    first = places[0]
    return slice(first, first + len(places)) if places == tuple(range(first, first + len(places))) else None


def _is_to_search(plan: _ReadPlan, answer: Reason) -> bool:
    """Whether a failure is a refusal that must have its cause in the request."""
    if answer not in _REFUSALS:
        return False
    plan.refusals += 1
    return not plan.is_proven or plan.refusals >= REFUSALS_OF_PROVEN


def _place_channels(plan: ModbusDevicePlan, aliases: Sequence[int], field_at: dict[Field, int]) -> list[JudgedChannel]:
    """The channels of a device; their fields get places in `field_at`."""
    heartbeats: dict[int, Heartbeat] = {}

    def place(wanted: Field) -> int:
        return field_at.setdefault(wanted, len(field_at))

    def place_heartbeat(beat: HeartbeatPlan | None) -> tuple[int, Heartbeat] | None:
        if beat is None:
            return None
        return place(beat.field), heartbeats.setdefault(id(beat), Heartbeat(beat.stale_after_s))

    kinds = {one.kind for one in plan.channels}
    conversions = {kind: None if kind.conversion is None else kind.conversion.build() for kind in kinds}
    return [
        JudgedChannel(
            alias=alias,
            heartbeat=place_heartbeat(one.heartbeat),
            states=tuple((place(state.field), state) for state in one.states),
            field_at=place(one.field),
            convert=conversions[one.kind],
            low=one.kind.low,
            high=one.kind.high,
        )
        for alias, one in zip(aliases, plan.channels, strict=True)
    ]
