"""`stream-processor backtest`: how often a rule would have fired over history (shell: reads and writes files)."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.record import select
from contracts.score import GROUP_SCORES, OTHER_SCORES
from contracts.score_columns import select_scores
from stream_processor.distributed.rebuild_plan import Selection
from stream_processor.errors import TrialError
from stream_processor.trial.backtest_run import BacktestRun
from stream_processor.trial.backtest_text import build_episode_table, draw_backtest, format_backtest
from stream_processor.trial.rule_text import Rule, define_all, parse_definitions, parse_rule
from stream_processor.trial.score_file import SUFFIXES, whole_file
from stream_processor.trial.stored_history import (
    Choice,
    StoredRecord,
    find_days,
    find_quantities,
    find_unscored,
    read_history,
)
from stream_processor.trial.table_file import read_table
from stream_processor.trial.trial_channel import TrialChannel, index_of, record_of
from stream_processor.trial.try_scores import channels_of, layout_of, write_plot


def run(options: argparse.Namespace) -> None:
    """Does what `backtest` is asked. Raises TrialError; then nothing was written."""
    if options.out is not None and options.out.suffix.lower() not in SUFFIXES:
        raise TrialError(f"--out {options.out}: the suffix is none of {', '.join(SUFFIXES)}")
    rules, definitions = read_rules(options.condition)
    before_s, before_cpu_s = time.perf_counter(), time.process_time()
    trial = BacktestRun()
    if options.archive is not None:
        how = _run_archive(trial, options, rules, definitions)
    else:
        how = _run_table(trial, options, rules, definitions)
    spent_s, cpu_s = time.perf_counter() - before_s, time.process_time() - before_cpu_s
    if not trial.readings:
        raise TrialError(f"{options.archive or options.file}: no readings of what the rules are about")
    source = str(options.archive or options.file)
    if options.out is not None:
        _write_table(options.out, build_episode_table(trial))
    if options.plot is not None:
        write_plot(options.plot, draw_backtest(source, trial))
    sys.stdout.writelines(f"{line}\n" for line in format_backtest(source, how, trial))
    print(f"{spent_s:.1f} s, of the processor {cpu_s:.1f} s: {trial.readings / cpu_s:,.0f} readings/s and core")


def read_rules(texts: Iterable[str]) -> tuple[list[Rule], list[ConditionDefinition]]:
    """Rules from words, and definitions from files."""
    rules: list[Rule] = []
    definitions: list[ConditionDefinition] = []
    for text in texts:
        if text.endswith(".json"):
            try:
                definitions += parse_definitions(text, Path(text).read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise TrialError(f"{text}: cannot be read: {error}") from error
        else:
            rules.append(parse_rule(text))
    return rules, definitions


# --- archive ---------------------------------------------------------------------------------------------------------


def _run_archive(
    trial: BacktestRun, options: argparse.Namespace, rules: Sequence[Rule], definitions: Sequence[ConditionDefinition]
) -> str:
    inputs = {*(rule.input for rule in rules), *(each.input for each in definitions)}
    choice = _choose(options.archive, _selection(options), rules, definitions)
    if inputs != {ConditionInput.VALUE} and not options.stored_scores:
        for stored in read_history(options.archive, choice):
            _take_channels(trial, stored, rules, definitions)
            trial.step(stored.record)
        return "quality, scores and conditions anew"
    unscored = _find_unscored(options.archive, choice, rules, definitions)
    for stored in read_history(options.archive, choice):
        _take_channels(trial, stored, rules, definitions)
        _step_partly(trial, stored, unscored)
    if unscored:  # of each record some channels were stepped after the others
        trial.book.episodes.sort(key=lambda each: each.begin_ns)
    count = len(unscored & trial.contexts.keys())
    exception = f"; {count:,} channels without stored scores on some day: quality and scores anew" if count else ""
    return f"quality and scores as stored, conditions anew{exception}"


def _choose(
    archive: Path, selection: Selection, rules: Sequence[Rule], definitions: Sequence[ConditionDefinition]
) -> Choice:
    """What the rules are about; with the score of a group, all channels that may be of the group."""
    inputs = {*(rule.input for rule in rules), *(each.input for each in definitions)}
    of_group = frozenset(each.channel_id for each in definitions if each.input in GROUP_SCORES)
    return Choice(
        selection,
        frozenset(rule.what for rule in rules) | find_quantities(archive, Choice(selection, frozenset(), of_group)),
        frozenset(each.channel_id for each in definitions),
        tuple(kind for kind in OTHER_SCORES if kind in inputs),
    )


def _find_unscored(
    archive: Path, choice: Choice, rules: Sequence[Rule], definitions: Sequence[ConditionDefinition]
) -> frozenset[int]:
    """The channels of which the archive does not have all scores that rules look at."""
    unscored: set[int] = set()
    for kind in choice.scores:
        on_it = [rule for rule in rules if rule.input is kind], [each for each in definitions if each.input is kind]
        unscored |= find_unscored(archive, _choose(archive, choice.selection, *on_it), kind)
    return frozenset(unscored)


def _step_partly(trial: BacktestRun, stored: StoredRecord, unscored: frozenset[int]) -> None:
    """Scores these channels anew, and takes those of the others as they were stored."""
    record = stored.record
    is_unscored = np.isin(record.channel_id, np.array(sorted(unscored), dtype=np.uint32))
    if is_unscored.any():
        trial.step(select(record, is_unscored))
    rest = ~is_unscored
    if rest.any():
        trial.step_stored(select(record, rest), stored.score_ewma_z[rest], select_scores(stored.other_scores, rest))


def _selection(options: argparse.Namespace) -> Selection:
    first, last = find_days(options.archive)
    try:
        chosen = [
            default if text is None else date.fromisoformat(text)
            for text, default in ((options.from_date, first), (options.until_date, last))
        ]
    except ValueError as error:
        raise TrialError(f"--from, --to: {error}") from error
    return Selection(chosen[0], chosen[1], frozenset(options.domain), frozenset(options.district))


def _take_channels(
    trial: BacktestRun, stored: StoredRecord, rules: Sequence[Rule], definitions: Sequence[ConditionDefinition]
) -> None:
    """Tells the run of channels that it has not seen before."""
    if not stored.new_contexts:
        return
    known = {**trial.contexts, **stored.new_contexts}
    named = define_all(rules, ((channel_id, each.channel.quantity) for channel_id, each in known.items()))
    own = [each for each in definitions if each.channel_id in known]
    trial.take_channels(stored.new_contexts, [*named, *own])


# --- table -----------------------------------------------------------------------------------------------------------


def _run_table(
    trial: BacktestRun, options: argparse.Namespace, rules: Sequence[Rule], definitions: Sequence[ConditionDefinition]
) -> str:
    if options.values is None:
        raise TrialError("--file needs --values A,B,…: the columns with readings")
    layout = layout_of(options)
    for number, batch in enumerate(read_table(options.file, layout), 1):
        if number == 1:
            _take_columns(trial, channels_of(options, layout, batch), rules, definitions)
        record, _ = record_of(batch.times_ns, batch.values, number)
        if len(record):
            trial.step(record)
    return "quality, scores and conditions as live"


def _take_columns(
    trial: BacktestRun,
    channels: Sequence[TrialChannel],
    rules: Sequence[Rule],
    definitions: Sequence[ConditionDefinition],
) -> None:
    """Tells the run of the columns; definitions name them by number, from 1."""
    names = {at: channel.name for at, channel in enumerate(channels, 1)}
    unknown = sorted({rule.what for rule in rules} - set(names.values()))
    if unknown:
        raise TrialError(f"rule about {', '.join(map(repr, unknown))}: the columns are {', '.join(names.values())}")
    strangers = [each.condition_id for each in definitions if each.channel_id not in names]
    if strangers:
        raise TrialError(f"{', '.join(strangers)}: channel_id is none of the columns 1 to {len(names)}")
    trial.take_channels(index_of(channels).contexts, [*define_all(rules, names.items()), *definitions])


def _write_table(path: Path, table: pa.Table) -> None:
    try:
        with whole_file(path) as part:
            if path.suffix.lower() == ".csv":
                pa_csv.write_csv(table, part)
            else:
                pq.write_table(table, part)
    except OSError as error:
        raise TrialError(f"{path}: cannot be written: {error}") from error
