"""What a trial says on a terminal and in a plot. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final

import numpy as np

from stream_processor.detectors.contract import to_sigma
from stream_processor.trial.detector_trial import Tally
from stream_processor.trial.envelope import Envelope
from stream_processor.trial.incident import Incident
from stream_processor.trial.score_run import ColumnTally, ScoredRows, ScoreRun
from stream_processor.trial.svg_chart import Mark, Panel, draw_chart
from stream_processor.trial.time_words import format_time
from stream_processor.trial.trial_channel import TrialChannel

LATE_SHARE_MAX: Final = 0.1
"""With more late readings the table is probably not what its reader thinks."""
ALL_COLUMNS: Final = "(all columns)"
TOLD_COLUMNS: Final = 24
"""With more columns the report says one line for each detector."""
TOLD_INCIDENTS: Final = 24
"""Lists of the highest scores: those with the highest of all."""
PLOTTED_COLUMNS: Final = 8
"""A plot shows the first columns of a table; a page with more is not read."""
_INCIDENTS_ON_PLOT: Final = 10


def format_summary(source: str, times: str, run: ScoreRun) -> Iterator[str]:
    """The lines of the report."""
    lowest, highest = run.span_ns or (0, 0)
    yield f"{source}: {run.rows:,} rows, {format_time(lowest)} to {format_time(highest)} (times: {times})"
    for channel, counts in list(zip(run.channels, run.columns, strict=True))[:TOLD_COLUMNS]:
        yield f"  {channel.name}: {_column_words(channel, counts)}"
    if len(run.channels) > TOLD_COLUMNS:
        yield f"  … and {len(run.channels) - TOLD_COLUMNS:,} columns more"
    late, readings = sum(each.late for each in run.columns), sum(each.readings for each in run.columns)
    if late > LATE_SHARE_MAX * readings:
        yield f"  {late / readings:.0%} of the readings are late: is the file sorted by time, and of one series?"
    yield ""
    yield from _table_lines(run)
    yield from _incident_lines(list(_tallies(run)))


def _table_lines(run: ScoreRun) -> Iterator[str]:
    """One line for each detector and column, or for each detector if there are many columns."""
    beyond = f">= {run.threshold:g}"
    yield f"{'detector':<16}{'column':<24}{'scored':>10}{'warm-up':>9}{beyond:>9}{'share':>9}{'highest':>9}"
    tallies = list(_tallies(run))
    if len(run.channels) > TOLD_COLUMNS:
        by_detector = groupby(tallies, key=lambda each: each[0])
        tallies = [_sum(name, [tally for _, _, tally in of_detector]) for name, of_detector in by_detector]
    for name, column, tally in tallies:
        share = f"{tally.beyond / tally.scored:.3%}" if tally.scored else "-"
        yield (
            f"{name:<16}{column[:23]:<24}{tally.scored:>10,}{tally.warm_up:>9,}{tally.beyond:>9,}{share:>9}"
            f"{tally.highest:>9.3f}"
        )


def _sum(name: str, tallies: Sequence[Tally]) -> tuple[str, str, Tally]:
    whole = Tally(
        sum(each.scored for each in tallies),
        sum(each.warm_up for each in tallies),
        sum(each.beyond for each in tallies),
        max(each.highest for each in tallies),
    )
    return name, ALL_COLUMNS, whole


def _column_words(channel: TrialChannel, tally: ColumnTally) -> str:
    quantity = channel.quantity
    kind = "" if quantity.name == "value" else f"{quantity.name} in {quantity.unit_symbol or quantity.unit}, "
    counts = {
        "missing": tally.missing,
        "late or of a time that was there (scored, not learnt)": tally.late,
        "bad (not scored)": tally.bad,
    }
    said = "".join(f", {count:,} {word}" for word, count in counts.items() if count)
    return f"{kind}{tally.readings:,} readings{said}; resolution {0.5 * 10.0**-quantity.decimals:g}"


def _tallies(run: ScoreRun) -> Iterator[tuple[str, str, Tally]]:
    for name, trial in run.trials.items():
        for channel, tally in zip(run.channels, trial.tallies(), strict=True):
            yield name, channel.name, tally
    if run.groups is not None:
        for name, tally in run.groups.tallies.items():
            yield name, ALL_COLUMNS, tally


def _incident_lines(tallies: Sequence[tuple[str, str, Tally]]) -> Iterator[str]:
    found = [each for each in tallies if each[2].incidents.kept]
    for name, column, tally in sorted(found, key=lambda each: -each[2].highest)[:TOLD_INCIDENTS]:
        yield ""
        yield f"{name}, {column}: the highest (readings near each other are one)"
        for each in tally.incidents.highest():
            sigma = to_sigma(each.score)
            yield f"  {each.score:.3f} = {sigma:5.1f} sigma  {format_time(each.time_ns):<24} {_words(each)}"
    if len(found) > TOLD_INCIDENTS:
        yield f"… and {len(found) - TOLD_INCIDENTS:,} more of a detector and column"


def _words(incident: Incident) -> str:
    return incident.why if np.isnan(incident.value) else f"{incident.value:g}: {incident.why}"


# --- plot ------------------------------------------------------------------------------------------------------------


class ScorePlot:
    """Takes what a run says, in a bounded number of bins; draws it at the end."""

    def __init__(self, columns: int) -> None:
        self._columns = min(columns, PLOTTED_COLUMNS)
        self._readings = Envelope(self._columns)
        self._scores: dict[str, Envelope] = {}
        self._group_scores: dict[str, Envelope] = {}

    def add(self, rows: ScoredRows) -> None:
        """Takes rows."""
        self._readings.add(rows.times_ns, rows.values[:, : self._columns])
        for name, scores in rows.scores.items():
            self._scores.setdefault(name, Envelope(self._columns)).add(rows.times_ns, scores[:, : self._columns])
        for name, scores in rows.group_scores.items():
            self._group_scores.setdefault(name, Envelope(1)).add(rows.times_ns, scores[:, None])

    def draw(self, source: str, run: ScoreRun) -> str:
        """The text of an SVG file."""
        panels: list[Panel] = []
        for at, channel in enumerate(run.channels[: self._columns]):
            unit = channel.quantity.unit_symbol
            panels.append(_panel(self._readings, at, f"{channel.name} [{unit}]" if unit else channel.name))
            tallies = {name: trial.tallies()[at] for name, trial in run.trials.items()}
            panels += _score_panels(self._scores, at, tallies, run.threshold)
        if run.groups is not None:
            panels += _score_panels(self._group_scores, 0, run.groups.tallies, run.threshold)
        left_out = len(run.channels) - self._columns
        note = (
            f"scores 0 to 1, dashed: {run.threshold:g} = {to_sigma(run.threshold):.1f} sigma; circles: the highest"
            + (f"; {left_out} more columns are not shown" if left_out else "")
        )
        return draw_chart(source, note, run.span_ns or (0, 1), panels)


def _panel(envelope: Envelope, column: int, title: str) -> Panel:
    return Panel(
        title,
        height=150,
        times_ns=envelope.middles_ns,
        low=envelope.low[:, column],
        high=envelope.high[:, column],
    )


def _score_panels(
    scores: Mapping[str, Envelope], column: int, tallies: Mapping[str, Tally], threshold: float
) -> Iterator[Panel]:
    for name, envelope in scores.items():
        tally = tallies[name]
        marks = [
            Mark(each.time_ns, each.score, f"{each.score:.3f} at {format_time(each.time_ns)}: {_words(each)}")
            for each in tally.incidents.highest()[:_INCIDENTS_ON_PLOT]
        ]
        yield Panel(
            name,
            f"{tally.beyond:,} of {tally.scored:,}",
            times_ns=envelope.middles_ns,
            low=envelope.low[:, column],
            high=envelope.high[:, column],
            bounds=(0.0, 1.0),
            threshold=threshold,
            is_filled=True,
            bin_ns=envelope.width_ns,
            marks=tuple(marks),
        )
