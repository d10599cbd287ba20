"""Report by exception: a value that has hardly changed is not sent, up to a maximum silence. Pure.

A good value is news if it differs from the last reported one by more than the deadband; a value with another quality
reason than the last is news always, and so is every value that is not good (of what is wrong, nothing is hidden).
Only what is sent is thinned: who watches set-points stands before the filter and sees every reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from contracts.observation import NANOSECONDS_PER_SECOND
from contracts.quality import Reason
from edge_agent.channel_table import Reading


class Sink(Protocol):
    """Where a bus puts what it reads."""

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes readings, oldest first."""

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """The line was lost, or answers for the first time since."""


@dataclass(frozen=True, slots=True)
class ReportRule:
    """When a channel's value is worth sending."""

    deadband: float
    """In the quantity's unit; 0: every change."""
    max_silence_s: float
    """The longest time without a report, whatever the value does."""


class ReportFilter:
    """What was last reported, by alias; channels without a rule are always reported."""

    def __init__(self, rules: Mapping[int, ReportRule]) -> None:
        self._rules: dict[int, tuple[float, int]] = {}
        self._last: dict[int, Reading] = {}
        self.add_rules(rules)

    def add_rules(self, rules: Mapping[int, ReportRule]) -> None:
        """Rules of further channels; the next value of each is news."""
        for alias, rule in rules.items():
            self._rules[alias] = (rule.deadband, round(rule.max_silence_s * NANOSECONDS_PER_SECOND))
            self._last.pop(alias, None)

    def drop_rules(self, aliases: Iterable[int]) -> None:
        """These channels are always reported from now on."""
        for alias in aliases:
            self._rules.pop(alias, None)

    def select_news(self, readings: list[Reading]) -> list[Reading]:
        """Those worth sending, which are taken as sent."""
        if not self._rules:
            return readings
        return [reading for reading in readings if self._is_news(reading)]

    def _is_news(self, reading: Reading) -> bool:
        alias, phenomenon_ns, value, reason = reading
        rule = self._rules.get(alias)
        if rule is None:
            return True
        last = self._last.get(alias)
        if last is not None and value is not None and last[2] is not None and reason == last[3] == Reason.OK:
            deadband, silence_ns = rule
            if abs(value - last[2]) <= deadband and phenomenon_ns - last[1] < silence_ns:
                return False
        self._last[alias] = reading
        return True


class ReportedSink:
    """Passes on what is news."""

    def __init__(self, sink: Sink, rules: Mapping[int, ReportRule]) -> None:
        self._sink = sink
        self._filter = ReportFilter(rules)

    def put(self, bus_id: str, readings: list[Reading]) -> None:
        """Takes all readings of a poll."""
        news = self._filter.select_news(readings)
        if news:
            self._sink.put(bus_id, news)

    def add_rules(self, rules: Mapping[int, ReportRule]) -> None:
        """Rules of the channels of a line that begins."""
        self._filter.add_rules(rules)

    def drop_rules(self, aliases: Iterable[int]) -> None:
        """Those of a line that ends."""
        self._filter.drop_rules(aliases)

    def line_changed(self, bus_id: str, is_up: bool) -> None:
        """Is news always."""
        self._sink.line_changed(bus_id, is_up)
