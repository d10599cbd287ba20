"""A rule over stored readings: the live pipeline, record by record, and what its conditions said. Pure.

    record → Pipeline.step (lateness, quality control, detector, conditions) → episodes

Where every rule looks at values, or the caller wants the scores that were stored, what the archive says of a reading
(quality, late or not, score) is taken as the pipeline said it then, and only its conditions are run again: for values
the result is the same, since a detector decides nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from contracts.alarm import ConditionDefinition
from contracts.record import Floats, Record, select
from contracts.score_columns import OtherScores, select_scores
from stream_processor.fleet_index import ChannelContext
from stream_processor.pipeline.conditions import Readings
from stream_processor.pipeline.pipeline import Pipeline
from stream_processor.pipeline.quality_control import is_bad
from stream_processor.trial.envelope import Envelope
from stream_processor.trial.episode import EpisodeBook
from stream_processor.trial.group_run import refit_on_the_spot
from stream_processor.trial.trial_channel import index_of_contexts

DRAWN_CHANNELS: Final = 4
"""Readings are drawn if there are so many channels at most."""
ROWS_BETWEEN_REFITS: Final = 500
"""As many readings as a live message has: a forest that is due is not waited for longer."""


class BacktestRun:
    """State of one backtest."""

    def __init__(self) -> None:
        self.book = EpisodeBook()
        self.readings = 0
        self.span_ns: tuple[int, int] | None = None
        """Lowest and highest event time so far."""
        self.contexts: dict[int, ChannelContext] = {}
        self.definitions: dict[str, ConditionDefinition] = {}
        self.drawn: dict[int, Envelope] = {}
        """Readings by channel_id."""
        self._pipeline = Pipeline()

    def take_channels(self, contexts: Mapping[int, ChannelContext], definitions: Iterable[ConditionDefinition]) -> None:
        """New channels, before the first of their readings, and all rules."""
        self.contexts.update(contexts)
        self.definitions = {each.condition_id: each for each in definitions}
        self._pipeline.take_fleet(index_of_contexts(self.contexts.values(), self.definitions.values()))
        is_drawn = len(self.contexts) <= DRAWN_CHANNELS
        self.drawn = {each: self.drawn.get(each, Envelope(1)) for each in self.contexts} if is_drawn else {}

    def step(self, record: Record) -> None:
        """Readings in the order in which they came: quality, scores and conditions anew.

        Forests of groups are refitted on the spot, so that the same history fires the same.
        """
        forests = self._pipeline.groups.forests
        rows = ROWS_BETWEEN_REFITS if forests else len(record)
        for first in range(0, len(record), rows):
            part = select(record, slice(first, first + rows))
            self.book.take(self._pipeline.step(part, int(part.received_ns[-1])).events)
            for forest in forests:
                refit_on_the_spot(forest)
        self._note(record)

    def step_stored(self, record: Record, score_ewma_z: Floats, other_scores: OtherScores) -> None:
        """The same, with quality (`reason`), lateness (`is_historical`) and scores as they were stored.

        A channel's readings take this way or the other, all of them: its detectors learn nothing here.
        """
        good = np.flatnonzero(~is_bad(record.reason))
        readings = Readings(
            self._pipeline.rows_of(record.channel_id)[good],
            record.phenomenon_ns[good],
            record.value[good],
            score_ewma_z[good],
            record.is_historical[good],
            select_scores(other_scores, good),
        )
        events, _ = self._pipeline.conditions.evaluate(readings, self.contexts, int(record.received_ns[-1]))
        self.book.take(events)
        self._note(record)

    def _note(self, record: Record) -> None:
        times = record.phenomenon_ns
        lowest, highest = int(times.min()), int(times.max())
        before = self.span_ns or (lowest, highest)
        self.span_ns = min(lowest, before[0]), max(highest, before[1])
        self.readings += len(record)
        for channel_id, envelope in self.drawn.items():
            at = np.flatnonzero(record.channel_id == channel_id)
            envelope.add(times[at], record.value[at][:, None])
