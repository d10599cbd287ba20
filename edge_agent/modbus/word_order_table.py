"""One channel's registers in all four word orders, with which of them are plausible. Pure.

A wrong word order gives numbers that are absurd nearly always, yet not always: the table lets a person see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from contracts.quality import Reason
from contracts.quantity import QUANTITIES
from edge_agent.lines.calibration import Conversion
from edge_agent.lines.poll_step import bounds_of, judge_number
from edge_agent.modbus.register_field import Field, RegisterType, WordOrder, build_decoder
from edge_agent.modbus.register_profile import RegisterChannel
from edge_agent.settings.plan_modbus import register_conversion

SMALLEST_MEASURED = 1e-9
"""A float closer to 0 than this, and not 0, is what words in a wrong order make of a measurement."""
_FLOATS = frozenset({RegisterType.F32, RegisterType.F64})
_MEANINGS = {
    WordOrder.ABCD: "big-endian, as the standard says",
    WordOrder.CDAB: "low word first",
    WordOrder.BADC: "bytes swapped within words",
    WordOrder.DCBA: "little-endian",
}


def describe_word_orders(
    channel: RegisterChannel, field: Field, words: Sequence[int], calibrate: Conversion | None
) -> list[str]:
    """Lines: the registers, then one line for each order with its value and a verdict.

    Args:
        channel: of the profile.
        field: its place in the device.
        words: the registers as they were read.
        calibrate: the node's or the profile's calibration.
    """
    shown = " ".join(f"{word:04X}" for word in words)
    place = f"{field.register_type.value} at address {field.address}, function code {field.function_code}"
    lines = [f"  {channel.quantity}: {place}: {shown}"]
    unit = QUANTITIES[channel.quantity].unit_symbol
    for order in WordOrder:
        number = build_decoder(replace(field, word_order=order))(words, 0)
        convert = register_conversion(channel, calibrate)
        _, value, reason = judge_number(0, number, convert, *bounds_of(channel), Reason.OK)
        verdict = "plausible" if reason is Reason.OK else reason.wire_name
        if 0.0 < abs(number) < SMALLEST_MEASURED and field.register_type in _FLOATS:
            verdict = "too small"
        mark = "  <- profile" if order is channel.word_order else ""
        text = "—" if value is None else f"{value:.6g} {unit}".rstrip()
        lines.append(f"    {order.value}  {text:<22}  {verdict:<12}  {_MEANINGS[order]}{mark}")
    return lines
