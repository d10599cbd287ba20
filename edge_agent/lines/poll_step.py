"""The words that a poll is made of: requests, answers, outcomes, and the judgement on a number. Pure.

A device's `poll` is a generator: it yields requests and is sent answers, so that a driver (a shell) only has to
carry bytes. What it returns are outcomes, one per channel:

    (alias, value, reason)

value None: there is no value at all, and the reason says why. A value with a bad reason was truly measured but
must not be believed (warm-up, out of range).
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.lines.calibration import Calibration, Conversion, build_conversion
from edge_agent.modbus.modbus_write import ModbusWrite

if TYPE_CHECKING:  # profiles are no weight of an agent that runs
    from edge_agent.frames.frame_profile import SerialFrameProfile
    from edge_agent.settings.profile_head import MeasuredChannel

Outcome = tuple[int, float | None, Reason]

VALUELESS: Final = frozenset({Reason.NOT_INSTALLED, Reason.STALE})
"""Reasons of the instrument's own under which the number in the value register means nothing."""

SILENCES: Final = frozenset({Reason.NO_ANSWER, Reason.MODBUS_GATEWAY_UNAVAILABLE})
"""Reasons of a device that was not heard of, by us or by the gateway before it: asking on is no use."""


@dataclass(frozen=True, slots=True)
class ModbusRequest:
    """What a Modbus driver is to read."""

    device_id: int
    function_code: int
    """1 to 4."""
    address: int
    count: int
    """Registers; bits for function codes 1 and 2."""


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """What a serial driver is to ask (or, with no question, only to hear), and what the answer looks like."""

    question: bytes
    profile: SerialFrameProfile


Request = ModbusRequest | ModbusWrite | FrameRequest
Answer = Sequence[int] | bytes | Reason
"""Registers or bits (none after a write), the bytes that were heard, or why there is neither."""
Poll = Generator[Request, Answer, list[Outcome]]


def conversion_of(calibration: Mapping[str, Calibration], channel: MeasuredChannel) -> Conversion | None:
    """The node's calibration of a channel, else the profile's; None if there is neither."""
    chosen = calibration.get(channel.quantity, channel.calibration)
    return None if chosen is None else build_conversion(chosen)


def bounds_of(channel: MeasuredChannel) -> tuple[float, float]:
    """What both the instrument can measure and the quantity can be."""
    quantity = QUANTITIES[channel.quantity]
    low, high = channel.range or (quantity.plausible_min, quantity.plausible_max)
    return max(low, quantity.plausible_min), min(high, quantity.plausible_max)


def judge_number(
    alias: int, number: float, convert: Conversion | None, low: float, high: float, reason: Reason
) -> Outcome:
    """Calibrates and checks a number that was truly read.

    A number that is none (NaN, infinite) is `not_a_number`; one that the calibration knows no value for (ln of 0 ohm,
    beyond a lookup table, an unknown code) is `out_of_range` without a value.
    """
    ok = Reason.OK
    if reason is not ok and reason in VALUELESS:
        return alias, None, reason
    if not math.isfinite(number):
        return alias, None, Reason.NOT_A_NUMBER if reason is ok else reason
    try:
        value = float(number if convert is None else convert(number))
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        return alias, None, Reason.OUT_OF_RANGE if reason is ok else reason
    if reason is ok and not low <= value <= high:
        return alias, value, Reason.OUT_OF_RANGE
    return alias, value, reason
