"""What a backtest says on a terminal, in a table and in a plot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.record import Int64s
from stream_processor.fleet_index import ChannelContext
from stream_processor.trial.backtest_run import BacktestRun
from stream_processor.trial.episode import (
    FLOOD_BEGINS_ABOVE,
    WINDOW_NS,
    Cluster,
    Episode,
    count_chattering,
    count_in_windows,
    find_bursts,
    find_floods,
)
from stream_processor.trial.svg_chart import Panel, Span, draw_chart
from stream_processor.trial.time_words import NS_PER_S, format_duration, format_time
from stream_processor.trial.trial_channel import TABLE_BUS

LINES_MAX: Final = 40
"""Conditions in the table and in the plot: those that fired most."""
_NOTED_CONDITIONS: Final = 12
"""So many conditions, and no more, have room for their rule in the plot."""
_CLUSTERS_MAX: Final = 10
_NS_PER_DAY: Final = 86_400 * NS_PER_S


class ConditionCount(NamedTuple):
    """How one condition fared."""

    definition: ConditionDefinition
    name: str
    """Of its channel."""
    fired: int
    standing_ns: int
    """Time in which it was active, up to the last reading."""
    longest_ns: int
    bursts: int
    chattering: int
    historical: int
    """Activations by readings that came late."""


def channel_name(context: ChannelContext) -> str:
    """As people know it: `gas-001/methane_lel`, or the column of their file."""
    if context.node.bus_id == TABLE_BUS:
        return context.node.model
    return f"{context.node.node_id}/{context.channel.quantity}"


def count_conditions(run: BacktestRun) -> list[ConditionCount]:
    """All conditions, those first that fired most."""
    by_condition: dict[str, list[Episode]] = {name: [] for name in run.definitions}
    for episode in run.book.episodes:
        by_condition[episode.condition_id].append(episode)
    end_ns = (run.span_ns or (0, 0))[1]
    found = [_count(run, name, episodes, end_ns) for name, episodes in by_condition.items()]
    return sorted(found, key=lambda each: (-each.fired, -each.standing_ns))


def _count(run: BacktestRun, condition_id: str, episodes: Sequence[Episode], end_ns: int) -> ConditionCount:
    live = [each for each in episodes if not each.is_historical]
    durations = [(end_ns if each.end_ns is None else each.end_ns) - each.begin_ns for each in live]
    begins = _begins(live)
    definition = run.definitions[condition_id]
    return ConditionCount(
        definition,
        channel_name(run.contexts[definition.channel_id]),
        len(live),
        sum(durations),
        max(durations, default=0),
        len(find_bursts(begins)),
        count_chattering(begins),
        len(episodes) - len(live),
    )


def _begins(episodes: Sequence[Episode]) -> Int64s:
    return np.sort(np.array([each.begin_ns for each in episodes], dtype=np.int64))


def format_backtest(source: str, how: str, run: BacktestRun) -> Iterator[str]:
    """The lines of the report."""
    lowest, highest = run.span_ns or (0, 0)
    counts = count_conditions(run)
    yield f"{source}: {format_time(lowest)} to {format_time(highest)}"
    yield f"{run.readings:,} readings of {len(run.contexts):,} channels; {how}"
    yield ""
    yield f"{'channel':<32}{'fired':>7}{'standing':>11}{'longest':>11}{'bursts':>8}{'chatter':>9}{'late':>6}  rule"
    told = _told(counts)
    yield from (_condition_line(each) for each in told)
    rest = counts[len(told) :]
    if rest:
        yield f"… and {len(rest):,} conditions that fired {sum(each.fired for each in rest):,} times"
    yield ""
    yield from _totals(run, counts, highest - lowest)


def _told(counts: Sequence[ConditionCount]) -> Sequence[ConditionCount]:
    """Those that fired most; the others too while they are few."""
    fired = [each for each in counts if each.fired or each.historical]
    return counts if len(counts) <= _NOTED_CONDITIONS else fired[:LINES_MAX]


def _condition_line(count: ConditionCount) -> str:
    return (
        f"{count.name[:31]:<32}{count.fired:>7,}{format_duration(count.standing_ns):>11}"
        f"{format_duration(count.longest_ns):>11}{count.bursts:>8,}{count.chattering:>9,}{count.historical:>6,}"
        f"  {count.definition.title}"
    )


def _totals(run: BacktestRun, counts: Sequence[ConditionCount], span_ns: int) -> Iterator[str]:
    live = [each for each in run.book.episodes if not each.is_historical]
    begins = _begins(live)
    a_day = len(live) / max(span_ns / _NS_PER_DAY, 1e-9)
    active = sum(each.end_ns is None for each in live)
    yield f"fired: {len(live):,} times in {format_duration(span_ns)}, {a_day:.3g} a day; {active:,} active at the end"
    late, chattering = sum(each.historical for each in counts), sum(each.chattering for each in counts)
    if late:
        yield f"late readings: {late:,} times more as history, which pages nobody"
    yield f"chattering: {chattering:,} of them the third or later of their condition within a minute"
    bursts = find_bursts(begins)
    yield (
        f"bursts (each at most 10 minutes after the one before): {len(bursts):,}, the largest of "
        f"{max((each.size for each in bursts), default=0):,}"
    )
    yield from _flood_lines(find_floods(begins), span_ns)


def _flood_lines(floods: Sequence[Cluster], span_ns: int) -> Iterator[str]:
    in_flood_ns = sum(each.end_ns - each.begin_ns for each in floods)
    yield (
        f"floods (more than 10 in 10 minutes, until fewer than 5): {len(floods):,}, {format_duration(in_flood_ns)}, "
        f"{in_flood_ns / max(span_ns, 1):.2%} of the time"
    )
    for each in sorted(floods, key=lambda each: -each.size)[:_CLUSTERS_MAX]:
        yield f"  {format_time(each.begin_ns)} for {format_duration(each.end_ns - each.begin_ns)}: {each.size:,}"


# --- table -----------------------------------------------------------------------------------------------------------


def build_episode_table(run: BacktestRun) -> pa.Table:
    """Every activation, with what returned it."""
    episodes = run.book.episodes
    time = pa.timestamp("ns", "UTC")
    return pa.table(
        {
            "channel": [channel_name(run.contexts[each.channel_id]) for each in episodes],
            "condition_id": [each.condition_id for each in episodes],
            "rule": [run.definitions[each.condition_id].title for each in episodes],
            "begin": pa.array([each.begin_ns for each in episodes], pa.int64()).cast(time),
            "end": pa.array([each.end_ns for each in episodes], pa.int64()).cast(time),
            "value": pa.array([each.value for each in episodes], pa.float64()),
            "input_value": pa.array([each.input_value for each in episodes], pa.float64()),
            "why": [each.why for each in episodes],
            "is_historical": pa.array([each.is_historical for each in episodes], pa.bool_()),
        }
    )


# --- plot ------------------------------------------------------------------------------------------------------------


def draw_backtest(source: str, run: BacktestRun) -> str:
    """The text of an SVG file."""
    counts = count_conditions(run)
    live = [each for each in run.book.episodes if not each.is_historical]
    span_ns = run.span_ns or (0, 1)
    panels = [*_reading_panels(run), _window_panel(_begins(live))]
    height = 32 if len(counts) <= _NOTED_CONDITIONS else 16
    panels += [_condition_panel(each, live, span_ns[1], height) for each in _told(counts)]
    note = (
        f"{len(live):,} activations; dashed: set-points, and more than {FLOOD_BEGINS_ABOVE} in 10 minutes (flood); "
        "red strips: when a condition was active, point at one to read more"
    )
    return draw_chart(source, note, span_ns, panels)


def _reading_panels(run: BacktestRun) -> Iterator[Panel]:
    for channel_id, envelope in run.drawn.items():
        context = run.contexts[channel_id]
        own = [each for each in run.definitions.values() if each.channel_id == channel_id]
        lines = [each.set_point for each in own if each.input is ConditionInput.VALUE]
        yield Panel(
            channel_name(context),
            context.quantity.unit_symbol,
            height=110,
            times_ns=envelope.middles_ns,
            low=envelope.low[:, 0],
            high=envelope.high[:, 0],
            lines=tuple(lines),
        )


def _window_panel(begins_ns: Int64s) -> Panel:
    windows, counts = count_in_windows(begins_ns)
    high = counts.astype(np.float64)
    return Panel(
        "in 10 minutes",
        "activations of all",
        height=80,
        times_ns=windows + WINDOW_NS // 2,
        low=np.zeros(len(high)),
        high=high,
        bounds=(0.0, max(float(high.max(initial=0.0)), FLOOD_BEGINS_ABOVE + 2.0)),
        threshold=float(FLOOD_BEGINS_ABOVE + 1),
        is_filled=True,
        bin_ns=WINDOW_NS,
    )


def _condition_panel(count: ConditionCount, live: Sequence[Episode], end_ns: int, height: int) -> Panel:
    ends_ns = [end_ns if each.end_ns is None else each.end_ns for each in live]
    spans = [
        Span(
            each.begin_ns,
            until_ns,
            f"{count.name}: {count.definition.title}; from {format_time(each.begin_ns)} for "
            f"{format_duration(until_ns - each.begin_ns)}, value {each.value:g}"
            + (f": {each.why}" if each.why else ""),
        )
        for each, until_ns in zip(live, ends_ns, strict=True)
        if each.condition_id == count.definition.condition_id
    ]
    return Panel(count.name, f"{count.fired:,}: {count.definition.title}", height=height, spans=tuple(spans))
