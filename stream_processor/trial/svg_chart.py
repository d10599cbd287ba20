"""Charts as one self-contained SVG file that any browser opens: panels over a common time axis. Pure.

Own code and no plotting library: matplotlib would bring 60 MB for two pictures. A panel shows an envelope (lowest to
highest of each time), bars, or spans; a mark has a tooltip (`<title>`). Colours keep apart in the common forms of
colour blindness (P. Okabe and K. Ito, Color universal design, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import Final, NamedTuple

import numpy as np

from contracts.record import Bools, Floats, Int64s

WIDTH: Final = 1_180
_LEFT: Final = 190
_RIGHT: Final = 20
_TOP: Final = 64
_GAP: Final = 14
_AXIS: Final = 34
_PLOT: Final = WIDTH - _LEFT - _RIGHT
BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
_NS_PER_S: Final = 1_000_000_000
_STEPS_S: Final = (
    1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 2 * 86_400, 7 * 86_400,
    14 * 86_400, 30 * 86_400, 91 * 86_400, 182 * 86_400, 365 * 86_400, 5 * 365 * 86_400, 20 * 365 * 86_400,
)  # fmt: skip
_TICKS_MAX: Final = 9
_STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#23272e}.small{font-size:11px;fill:#5b616b}.title{font-size:17px;"
    "font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}"
)


class Span(NamedTuple):
    """A time with a name."""

    from_ns: int
    until_ns: int
    words: str


class Mark(NamedTuple):
    """A point in time with words."""

    at_ns: int
    value: float
    words: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One strip of the chart."""

    title: str
    note: str = ""
    """Small, below the title."""
    height: int = 44
    times_ns: Int64s = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    low: Floats = field(default_factory=lambda: np.zeros(0))
    """By time; NaN where there is none."""
    high: Floats = field(default_factory=lambda: np.zeros(0))
    bounds: tuple[float, float] | None = None
    """Of the vertical axis; None: what is there."""
    threshold: float | None = None
    """A line across; what reaches it is drawn in red."""
    lines: tuple[float, ...] = ()
    """Lines across that mean nothing for colours: set-points."""
    is_filled: bool = False
    """From the bottom of the panel to `high`, instead of from `low` to `high`."""
    bin_ns: int = 0
    """Width of a time; 0: they are points."""
    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()


def draw_chart(title: str, note: str, span_ns: tuple[int, int], panels: Sequence[Panel]) -> str:
    """The text of an SVG file."""
    axis = _Axis(span_ns[0], max(span_ns[1], span_ns[0] + 1))
    parts: list[str] = []
    y = float(_TOP)
    for panel in panels:
        parts += _draw_panel(panel, axis, y)
        y += panel.height + _GAP
    parts += _draw_axis(axis, _TOP, y)
    size = f'width="{WIDTH}" height="{round(y + _AXIS)}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size}>',
            f"<style>{_STYLE}</style>",
            f'<rect {size} fill="#fff"/>',
            _text(16, 26, title, "title"),
            _text(16, 46, note, "small"),
            *parts,
            "</svg>",
            "",
        ]
    )


@dataclass(frozen=True, slots=True)
class _Axis:
    """Times to pixels."""

    from_ns: int
    until_ns: int

    def x(self, at_ns: float) -> float:
        return _LEFT + _PLOT * (at_ns - self.from_ns) / (self.until_ns - self.from_ns)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to pixels."""

    bottom: float
    top: float
    y: float
    height: float

    def at(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return self.y + self.height * (1.0 - min(max(share, 0.0), 1.0))


def _draw_panel(panel: Panel, axis: _Axis, y: float) -> list[str]:
    scale = _Scale(*_bounds(panel), y, panel.height)
    parts = [
        f'<rect x="{_LEFT}" y="{y:.1f}" width="{_PLOT}" height="{panel.height}" fill="#f6f7f9"/>',
        _text(16, y + 15, _short(panel.title), ""),
    ]
    if panel.note and panel.height >= 30:
        parts.append(_text(16, y + 30, _short(panel.note), "small"))
    if len(panel.times_ns):
        parts += _draw_envelope(panel, axis, scale)
    lines = panel.lines if panel.threshold is None else (panel.threshold, *panel.lines)
    parts += (_draw_line(scale.at(each)) for each in lines)
    parts += (_draw_span(each, axis, y, panel.height) for each in panel.spans)
    parts += (_draw_mark(each, axis, scale) for each in panel.marks)
    if len(panel.times_ns):
        parts += [
            _text(_LEFT - 6, y + 10, _number(scale.top), "small end"),
            _text(_LEFT - 6, y + panel.height, _number(scale.bottom), "small end"),
        ]
    return parts


def _bounds(panel: Panel) -> tuple[float, float]:
    if panel.bounds is not None:
        return panel.bounds
    low, high = panel.low[np.isfinite(panel.low)], panel.high[np.isfinite(panel.high)]
    shown = [*panel.lines, float(low.min(initial=np.inf)), float(high.max(initial=-np.inf))]
    bottom, top = min(shown), max(shown)
    if not math.isfinite(top - bottom):
        return 0.0, 1.0
    return (bottom, top) if bottom < top else (bottom - 0.5, top + 0.5)


def _draw_envelope(panel: Panel, axis: _Axis, scale: _Scale) -> list[str]:
    """The readings, and once more in red what is at or beyond the threshold."""
    known = np.isfinite(panel.high)
    parts = [_path(panel, known, axis, scale, BLUE)]
    if panel.threshold is not None:
        beyond = known & (panel.high >= panel.threshold)
        if beyond.any():
            parts.append(_path(panel, beyond, axis, scale, RED))
    return parts


def _path(panel: Panel, chosen: Bools, axis: _Axis, scale: _Scale, colour: str) -> str:
    """Bars from low to high; readings of an envelope that follow one another are joined."""
    moves: list[str] = []
    before: tuple[int, float] | None = None
    gap_ns = _gap_ns(panel.times_ns[np.isfinite(panel.high)])
    for at in np.flatnonzero(chosen).tolist():
        time_ns = int(panel.times_ns[at])
        x = axis.x(time_ns)
        high = scale.at(float(panel.high[at]))
        low = scale.y + scale.height if panel.is_filled else scale.at(float(panel.low[at]))
        is_joined = before is not None and not panel.is_filled and time_ns - before[0] <= gap_ns
        moves.append(f"{'L' if is_joined else 'M'}{x:.1f} {low:.1f}V{min(high, low - 0.8):.1f}")
        before = (time_ns, high)
    wide = max(1.1, _PLOT * panel.bin_ns / (axis.until_ns - axis.from_ns)) if panel.is_filled else 1.1
    return f'<path d="{"".join(moves)}" fill="none" stroke="{colour}" stroke-width="{wide:.2f}"/>'


def _gap_ns(times_ns: Int64s) -> float:
    """Readings further apart than this are not joined: three times what is usual."""
    return 3.0 * float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0.0


def _draw_line(y: float) -> str:
    return (
        f'<line x1="{_LEFT}" x2="{_LEFT + _PLOT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{RED}" '
        'stroke-width="1" stroke-dasharray="4 4"/>'
    )


def _draw_span(span: Span, axis: _Axis, y: float, height: float) -> str:
    x = axis.x(span.from_ns)
    width = max(axis.x(span.until_ns) - x, 1.5)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{RED}" fill-opacity="0.75">'
        f"<title>{escape(span.words)}</title></rect>"
    )


def _draw_mark(mark: Mark, axis: _Axis, scale: _Scale) -> str:
    return (
        f'<circle cx="{axis.x(mark.at_ns):.1f}" cy="{scale.at(mark.value):.1f}" r="4.5" fill="#fff" stroke="{RED}" '
        f'stroke-width="1.8"><title>{escape(mark.words)}</title></circle>'
    )


def _draw_axis(axis: _Axis, top: float, bottom: float) -> Iterable[str]:
    step_s = _step_s(axis)
    step_ns = step_s * _NS_PER_S
    tick_ns = -(-axis.from_ns // step_ns) * step_ns
    while tick_ns <= axis.until_ns:
        x = axis.x(tick_ns)
        ends = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom - _GAP:.1f}"'
        yield f'<line {ends} stroke="#c9cdd3" stroke-width="0.6"/>'
        for line, words in enumerate(_time_words(tick_ns, step_s)):
            yield _text(x, bottom + 4 + 14 * line, words, "small middle")
        tick_ns += step_ns


def _step_s(axis: _Axis) -> int:
    span_s = (axis.until_ns - axis.from_ns) / _NS_PER_S
    return next((step for step in _STEPS_S if span_s / step <= _TICKS_MAX), math.ceil(span_s / _TICKS_MAX))


def _time_words(time_ns: int, step_s: int) -> tuple[str, ...]:
    try:
        time = datetime.fromtimestamp(time_ns // _NS_PER_S, UTC)
    except (ValueError, OverflowError, OSError):
        return (f"{time_ns / _NS_PER_S:g} s",)
    if step_s >= 86_400:
        return (f"{time:%Y-%m-%d}",)
    return f"{time:%H:%M:%S}" if step_s < 60 else f"{time:%H:%M}", f"{time:%Y-%m-%d}"


def _text(x: float, y: float, words: str, kind: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(words)}</text>'


def _short(words: str) -> str:
    return words if len(words) <= 26 else words[:25] + "…"


def _number(value: float) -> str:
    return f"{value:.5g}"
