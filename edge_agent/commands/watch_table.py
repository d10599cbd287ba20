"""The live table of `edge-agent watch`: value, quality, age and next poll of each channel, in any terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.quality import Level, Reason, level_of
from contracts.quantity import QUANTITIES

HEAD = ("channel", "value", "quality", "age", "next")


@dataclass(frozen=True, slots=True)
class WatchRow:
    """What is known of a channel."""

    name: str
    """`bus/node`."""
    quantity: str
    value: float | None
    reason: Reason | None
    """None: nothing was read yet."""
    age_s: float | None
    next_s: float | None
    """Until the next poll; None: not known."""


def draw_table(rows: Sequence[WatchRow], width: int, height: int) -> list[str]:
    """Lines that fit a terminal; what is not good comes first, and what has no room is counted.

    Args:
        rows: all channels.
        width: columns; each line is cut there.
        height: lines.
    """
    ordered = sorted(rows, key=lambda row: (_rank(row.reason), row.name, row.quantity))
    room = max(height - 2, 1)
    shown = ordered[: room if len(ordered) <= room else max(room - 1, 1)]
    cells = [HEAD, *(_cells(row) for row in shown)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [_format_line(line, widths)[:width] for line in cells]
    if len(shown) < len(ordered):
        rest = ordered[len(shown) :]
        bad = sum(_rank(row.reason) < 2 for row in rest)
        lines.append(f"… {len(rest)} more, {bad} of them not good"[:width])
    good = sum(row.reason is Reason.OK for row in rows)
    lines.append(f"{good} of {len(rows)} channels good"[:width])
    return lines


def _rank(reason: Reason | None) -> int:
    """Bad before unknown before good."""
    if reason is None:
        return 1
    return 2 if level_of(reason) is Level.GOOD else 0


def _cells(row: WatchRow) -> tuple[str, ...]:
    quantity = QUANTITIES[row.quantity]
    value = "—" if row.value is None else f"{row.value:.{quantity.decimals}f} {quantity.unit_symbol}".rstrip()
    quality = "not read yet" if row.reason is None else "good" if row.reason is Reason.OK else row.reason.wire_name
    return f"{row.name} {row.quantity}", value, quality, _seconds(row.age_s), _seconds(row.next_s)


def _seconds(duration_s: float | None) -> str:
    if duration_s is None:
        return "—"
    return f"{max(duration_s, 0.0):.1f} s" if duration_s < 100.0 else f"{duration_s / 60.0:.0f} min"


def _format_line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Names and qualities to the left, numbers to the right."""
    padded = [f"{cell:{'<' if at in {0, 2} else '>'}{widths[at]}}" for at, cell in enumerate(cells)]
    return "  ".join(padded)
