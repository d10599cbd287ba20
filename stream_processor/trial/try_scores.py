"""`stream-processor score FILE`: the shipped detectors over somebody's file (shell: reads and writes files)."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from contracts.record import Int64s
from stream_processor.detectors import DETECTORS, GROUP_DETECTORS
from stream_processor.detectors.group_contract import GroupDetector
from stream_processor.errors import TrialError
from stream_processor.trial.arguments import SEPARATORS
from stream_processor.trial.group_run import GroupRun
from stream_processor.trial.score_file import SUFFIXES, whole_file, write_scores
from stream_processor.trial.score_run import ScoreRun
from stream_processor.trial.score_text import ScorePlot, format_summary
from stream_processor.trial.table import TableBatch, TableLayout
from stream_processor.trial.table_file import read_table
from stream_processor.trial.time_words import NS_PER_S
from stream_processor.trial.trial_channel import TrialChannel, choose_channels


def run(options: argparse.Namespace) -> None:
    """Does what `score` is asked. Raises TrialError; then nothing was written."""
    if options.file is None or options.values is None:
        raise TrialError("say --config FILE for the worker, or FILE --values A,B,… to try the detectors on a table")
    if options.out is not None and options.out.suffix.lower() not in SUFFIXES:
        raise TrialError(f"--out {options.out}: the suffix is none of {', '.join(SUFFIXES)}")
    if not 0.0 < options.threshold < 1.0:
        raise TrialError(f"--threshold {options.threshold}: a score is between 0 and 1")
    layout = layout_of(options)
    batches = read_table(options.file, layout)
    first = next(batches, None)
    if first is None:
        raise TrialError(f"{options.file}: there are no rows")
    channels = channels_of(options, layout, first)
    run = ScoreRun(
        channels,
        {name: DETECTORS[name]() for name in _chosen_detectors(options.detectors)},
        _groups(options, channels, first) if options.group else None,
        options.threshold,
    )
    plot = ScorePlot(len(channels))
    with write_scores(options.out, layout.values) as out:
        for batch in chain([first], batches):
            rows = run.step(batch)
            plot.add(rows)
            if out is not None:
                out.add(rows)
    if options.plot is not None:
        write_plot(options.plot, plot.draw(options.file.name, run))
    sys.stdout.writelines(f"{line}\n" for line in format_summary(str(options.file), first.time_form, run))


def write_plot(path: Path, text: str) -> None:
    """Writes a plot, whole or not at all."""
    try:
        with whole_file(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TrialError(f"{path}: cannot be written: {error}") from error


def layout_of(options: argparse.Namespace) -> TableLayout:
    """How the command line says that the table is written."""
    if options.period <= 0.0:
        raise TrialError(f"--period {options.period}: rows are some seconds apart")
    (values,) = csv.reader([options.values])
    return TableLayout(
        values=tuple(name.strip() for name in values),
        time=options.time,
        period_s=options.period,
        time_format=options.time_format,
        separator=None if options.separator is None else SEPARATORS[options.separator],
        has_header=not options.no_header,
        has_decimal_comma=options.decimal_comma,
    )


def channels_of(options: argparse.Namespace, layout: TableLayout, first: TableBatch) -> tuple[TrialChannel, ...]:
    """The columns as channels, with what the command line says of them."""
    quantities = dict(_pairs("--quantity", options.quantity))
    try:
        decimals = {column: int(count) for column, count in _pairs("--decimals", options.decimals)}
    except ValueError as error:
        raise TrialError(f"--decimals: {error}") from error
    return choose_channels(layout.values, first.values, quantities, decimals)


def _pairs(option: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, separator, value = text.rpartition("=")
        if not separator or not name:
            raise TrialError(f"{option} {text!r} is not COLUMN=…")
        yield name, value


def _chosen_detectors(text: str | None) -> Sequence[str]:
    chosen = list(DETECTORS) if text is None else [name.strip() for name in text.split(",")]
    unknown = [name for name in chosen if name not in DETECTORS]
    if unknown:
        raise TrialError(f"there is no detector {', '.join(unknown)} among {', '.join(DETECTORS)}")
    return chosen


def _groups(options: argparse.Namespace, channels: Sequence[TrialChannel], first: TableBatch) -> GroupRun:
    if len(channels) < 2:
        raise TrialError("--group: one column is no group")
    period_ns = (
        _usual_step_ns(first.times_ns) if options.group_period is None else round(options.group_period * NS_PER_S)
    )
    names, units = [each.name for each in channels], [each.quantity.unit_symbol for each in channels]
    try:
        detectors: dict[str, GroupDetector] = {name: build(len(channels)) for name, build in GROUP_DETECTORS.items()}
        return GroupRun(detectors, names, units, period_ns, options.threshold)
    except ValueError as error:
        raise TrialError(f"--group: {error}") from error


def _usual_step_ns(times_ns: Int64s) -> int:
    """The usual time between two rows."""
    steps = np.diff(np.unique(times_ns))
    return int(np.median(steps)) if len(steps) else NS_PER_S
