"""One poll of one device: which requests, and what the answers mean. Pure; time is passed in.

`ModbusDevice.poll` and `FrameDevice.poll` are generators: they yield requests and are sent answers, so that a
driver (a shell) only has to carry bytes. What they return are outcomes, one per channel:

    (alias, value, reason)

value None: there is no value at all, and the reason says why. A value with a bad reason was truly measured but
must not be believed (warm-up, out of range).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.calibration import Conversion, build_conversion
from edge_agent.configuration import ModbusNodeSettings, NodeSettings
from edge_agent.frame_parser import FrameFormat, build_field_decoder
from edge_agent.profile import (
    FrameChannel,
    ModbusProfile,
    RegisterChannel,
    SerialFrameProfile,
    StateRegister,
)
from edge_agent.register_plan import Field, FieldDecoder, Read, RegisterType, build_decoder, narrow_read, plan_reads

Outcome = tuple[int, float | None, Reason]

VALUELESS: Final = frozenset({Reason.NOT_INSTALLED, Reason.STALE})
"""Reasons of the instrument's own under which the number in the value register means nothing."""
NARROW_AGAIN_S: Final = 60.0
"""A device that refused even the smallest requests is not bisected again for so long."""
_REFUSALS: Final = frozenset({Reason.MODBUS_ILLEGAL_ADDRESS, Reason.MODBUS_ILLEGAL_VALUE})


@dataclass(frozen=True, slots=True)
class ModbusRequest:
    """What a Modbus driver is to ask."""

    device_id: int
    function_code: int
    address: int
    count: int


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """What a serial driver is to ask, and what the answer looks like."""

    question: bytes
    frame_format: FrameFormat


Request = ModbusRequest | FrameRequest
Answer = Sequence[int] | bytes | Reason
"""Registers, the bytes of a frame, or why there is neither."""
Poll = Generator[Request, Answer, list[Outcome]]


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
class _RegisterChannelPlan:
    alias: int
    field_at: int
    """Which of the device's fields holds the value."""
    convert: Conversion | None
    low: float
    high: float
    states: tuple[tuple[int, StateRegister], ...]
    heartbeat: tuple[int, _Heartbeat] | None


@dataclass(slots=True)
class _ReadPlan:
    """A request with the decoders of its fields, and whether the device has ever answered it."""

    read: Read
    request: ModbusRequest
    decoders: tuple[tuple[int, FieldDecoder, int], ...]
    """For each field: which one, how to decode it, and where in the answer it begins."""
    is_proven: bool = False


@dataclass(slots=True)
class _Cycle:
    """What one poll has brought so far."""

    numbers: list[float | None]
    """By field; None: see `failures`."""
    failures: list[Reason]
    may_narrow: bool
    has_narrowed: bool = False
    has_numbers: bool = False
    plans: list[_ReadPlan] = field(default_factory=list)
    """The requests that are worth sending the next time."""

    def take(self, plan: _ReadPlan, words: Sequence[int] | bytes) -> None:
        """An answer came."""
        plan.is_proven = self.has_numbers = True
        self.plans.append(plan)
        numbers = self.numbers
        for field_at, decode, word_at in plan.decoders:
            numbers[field_at] = decode(words, word_at)

    def fail(self, plans: Sequence[_ReadPlan], reason: Reason) -> None:
        """No answer came to these."""
        self.plans += plans
        for plan in plans:
            for field_at, _, _ in plan.decoders:
                self.failures[field_at] = reason

    def narrow(self, plan: _ReadPlan, reason: Reason) -> tuple[Read, ...]:
        """Smaller requests to try in place of a refused one that never worked; empty if that makes no sense."""
        if reason not in _REFUSALS or plan.is_proven or not self.may_narrow:
            return ()
        parts = narrow_read(plan.read)
        self.has_narrowed = self.has_narrowed or bool(parts)
        return parts


class ModbusDevice:
    """All nodes of one device id that are polled together."""

    def __init__(
        self,
        device_id: int,
        nodes: Sequence[tuple[ModbusNodeSettings, ModbusProfile, Mapping[str, int]]],
    ) -> None:
        """Plans the requests.

        Args:
            device_id: the Modbus device.
            nodes: settings, profile, and alias by quantity of each node on it.
        """
        self.device_id = device_id
        self._field_at: dict[Field, int] = {}
        self._channels: list[_RegisterChannelPlan] = []
        for settings, profile, aliases in nodes:
            self._channels += _plan_node(settings, profile, aliases, self._field_at)
        max_registers = min(profile.max_registers for _, profile, _ in nodes)
        max_hole_registers = min(profile.max_hole_registers for _, profile, _ in nodes)
        self._original = plan_reads(list(self._field_at), max_registers, max_hole_registers)
        self._plan = self._build_plan(self._original)
        self._narrow_from_s = -math.inf

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
        count = len(self._field_at)
        cycle = _Cycle([None] * count, [Reason.NO_ANSWER] * count, may_narrow=now_s >= self._narrow_from_s)
        waiting = list(reversed(self._plan))
        while waiting:
            plan = waiting.pop()
            answer = yield plan.request
            if not isinstance(answer, Reason):
                cycle.take(plan, answer)
            elif answer is Reason.NO_ANSWER:
                cycle.fail([plan, *reversed(waiting)], answer)
                break
            elif parts := cycle.narrow(plan, answer):
                waiting += reversed(self._build_plan(parts))
            else:
                cycle.fail([plan], answer)
        self._learn(cycle, now_s)
        return [_judge(channel, cycle.numbers, cycle.failures, now_s) for channel in self._channels]

    def _learn(self, cycle: _Cycle, now_s: float) -> None:
        """Keeps smaller requests that helped; a device that refuses everything is asked as planned again."""
        if cycle.has_narrowed and not cycle.has_numbers:
            self._plan = self._build_plan(self._original)
            self._narrow_from_s = now_s + NARROW_AGAIN_S
        else:
            self._plan = cycle.plans

    def _build_plan(self, reads: Sequence[Read]) -> list[_ReadPlan]:
        return [
            _ReadPlan(
                read,
                ModbusRequest(self.device_id, read.function_code, read.address, read.count),
                tuple((self._field_at[one], build_decoder(one), one.address - read.address) for one in read.fields),
            )
            for read in reads
        ]


@dataclass(slots=True)
class FrameDevice:
    """One sensor on a serial port that answers a question with a frame."""

    settings: NodeSettings
    profile: SerialFrameProfile
    alias_of: Mapping[str, int]
    _request: FrameRequest = field(init=False)

    def __post_init__(self) -> None:
        self._request = FrameRequest(bytes.fromhex(self.profile.question_hex), self.profile.frame)

    @property
    def aliases(self) -> tuple[int, ...]:
        """The channels that a poll gives an outcome for."""
        return tuple(self.alias_of[channel.quantity] for channel in self.profile.channel)

    def poll(self, now_s: float) -> Poll:  # noqa: ARG002  # the same shape as ModbusDevice.poll
        """Asks once."""
        answer = yield self._request
        outcomes: list[Outcome] = []
        for channel in self.profile.channel:
            alias = self.alias_of[channel.quantity]
            if isinstance(answer, bytes):
                convert = _conversion(self.settings, channel)
                number = build_field_decoder(channel.field)(answer)
                outcomes.append(_judge_number(alias, number, convert, *_bounds(channel), Reason.OK))
            else:
                assert isinstance(answer, Reason)
                outcomes.append((alias, None, answer))
        return outcomes


Device = ModbusDevice | FrameDevice


def _plan_node(
    settings: ModbusNodeSettings, profile: ModbusProfile, aliases: Mapping[str, int], field_at: dict[Field, int]
) -> list[_RegisterChannelPlan]:
    """The channels of a node; their fields get places in `field_at`."""
    shift = profile.address_shift(settings.channel_index)

    def place(wanted: Field) -> int:
        return field_at.setdefault(wanted, len(field_at))

    heartbeat = None
    if profile.heartbeat is not None:
        beat = Field(profile.heartbeat.function_code, profile.heartbeat.address + shift)
        heartbeat = (place(beat), _Heartbeat(profile.heartbeat.stale_after_s))
    plans = []
    for channel in profile.channel:
        low, high = _bounds(channel)
        address = channel.address + shift
        states = [
            (place(Field(state.function_code, state.address + shift, RegisterType(state.type))), state)
            for state in profile.state
            if not state.quantities or channel.quantity in state.quantities
        ]
        plans.append(
            _RegisterChannelPlan(
                alias=aliases[channel.quantity],
                field_at=place(Field(channel.function_code, address, channel.type, channel.word_order, channel.mask)),
                convert=_register_conversion(settings, channel),
                low=low,
                high=high,
                states=tuple(states),
                heartbeat=heartbeat,
            )
        )
    return plans


def _register_conversion(settings: ModbusNodeSettings, channel: RegisterChannel) -> Conversion | None:
    convert = _conversion(settings, channel)
    match, divisor = channel.match, channel.raw_divisor
    if match is not None:
        return lambda raw: float(int(raw) & match.mask in match.equals)
    if divisor == 1.0:
        return convert
    return (lambda raw: raw / divisor) if convert is None else (lambda raw: convert(raw / divisor))


def _conversion(settings: NodeSettings, channel: RegisterChannel | FrameChannel) -> Conversion | None:
    calibration = settings.calibration.get(channel.quantity, channel.calibration)
    return None if calibration is None else build_conversion(calibration)


def _bounds(channel: RegisterChannel | FrameChannel) -> tuple[float, float]:
    """What both the instrument can measure and the quantity can be."""
    quantity = QUANTITIES[channel.quantity]
    low, high = channel.range or (quantity.plausible_min, quantity.plausible_max)
    return max(low, quantity.plausible_min), min(high, quantity.plausible_max)


def _judge(
    channel: _RegisterChannelPlan, numbers: Sequence[float | None], failures: Sequence[Reason], now_s: float
) -> Outcome:
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
    return _judge_number(channel.alias, number, channel.convert, channel.low, channel.high, reason)


def _judge_number(
    alias: int, number: float, convert: Conversion | None, low: float, high: float, reason: Reason
) -> Outcome:
    """Calibrates and checks a number that was truly read."""
    ok = Reason.OK
    if reason is not ok and reason in VALUELESS:
        return alias, None, reason
    try:
        value = float(number if convert is None else convert(number))
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        return alias, None, Reason.NOT_A_NUMBER if reason is ok else reason
    if reason is ok and not low <= value <= high:
        return alias, value, Reason.OUT_OF_RANGE
    return alias, value, reason
