"""One detector in a trial: scores, counts, and the highest incidents with their explanations. Pure.

    turns → score and learn each → incidents among the scores → why: a copy from before, turn by turn up to the reading

A detector explains a reading by what it knew before it, and few readings are among the highest: which ones is known
some turns later. So copies of the detector are kept on the way, and the few turns between a copy and such a reading are
learnt again. A detector is deterministic, and a copy continues bit for bit.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from contracts.record import Floats, Int64s
from stream_processor.detectors.contract import Batch, Detector, Rows
from stream_processor.trial.incident import FLOOR, Incident, Incidents

TURNS_PER_COPY: Final = 64
"""With one channel a copy costs a third of a turn at most; a turn that is learnt again costs a whole one."""


class Turn(NamedTuple):
    """Readings that are worked on at once, and where they stand among all: see `split_rounds`."""

    live_at: Rows
    live: Batch
    """Each column at most once."""
    history_at: Rows
    history: Batch
    """Late readings: scored before the live ones, and not learnt."""


@dataclass(slots=True)
class Tally:
    """Counts of one detector and column."""

    scored: int = 0
    warm_up: int = 0
    beyond: int = 0
    """Scores at or above the threshold."""
    highest: float = 0.0
    incidents: Incidents = field(default_factory=Incidents)


class DetectorTrial:
    """A detector over the columns of a table."""

    def __init__(self, detector: Detector, units: Sequence[str], threshold: float) -> None:
        self._incidents = [Incidents() for _ in units]
        """By column, as what follows."""
        self._scored, self._warm_up, self._beyond = np.zeros((3, len(units)), dtype=np.int64)
        self._highest = np.zeros(len(units))
        self._detector = detector
        self._units = units
        self._threshold = threshold
        detector.grow(len(units))

    def take(self, turns: Sequence[Turn], numbers: Int64s, scores: Floats) -> None:
        """Scores readings, learns the live ones, and keeps those with the highest scores, with the reason.

        Args:
            turns: in order.
            numbers: which reading of its column each is, from 0; of all readings, as `scores`.
            scores: takes the scores of the readings in `turns`.
        """
        copies = []
        of_live: list[Floats] = []
        for at, turn in enumerate(turns):
            if at % TURNS_PER_COPY == 0:
                copies.append(copy.deepcopy(self._detector))
            if len(turn.history_at):
                scores[turn.history_at] = self._detector.score(turn.history)
            of_live.append(self._detector.score_and_learn(turn.live))
        scores[np.concatenate([turn.live_at for turn in turns])] = np.concatenate(of_live)
        self._explain(turns, copies, self._find(turns, numbers, scores))

    def _find(self, turns: Sequence[Turn], numbers: Int64s, scores: Floats) -> Mapping[int, list[tuple[int, Incident]]]:
        """Incidents that are among the highest after these turns: by turn, with the place of the reading in it."""
        live_at = np.concatenate([turn.live_at for turn in turns])
        ends = np.cumsum([len(turn.live_at) for turn in turns])
        high = np.flatnonzero(scores[live_at] >= FLOOR)
        turn_of = np.searchsorted(ends, high, side="right")
        found: list[tuple[int, int, Incident]] = []
        for position, at in zip(high.tolist(), turn_of.tolist(), strict=True):
            live = turns[at].live
            place = position - int(ends[at]) + len(live.rows)
            score, number = float(scores[live_at[position]]), int(numbers[live_at[position]])
            incidents = self._incidents[live.rows[place]]
            if incidents.is_wanted(score, number):
                incident = Incident(score, int(live.times_ns[place]), float(live.values[place]), "", number)
                incidents.add(incident)
                found.append((at, place, incident))
        kept = {id(incident) for incidents in self._incidents for incident in incidents.kept}
        by_turn: defaultdict[int, list[tuple[int, Incident]]] = defaultdict(list)
        for at, place, incident in found:
            if id(incident) in kept:
                by_turn[at].append((place, incident))
        return by_turn

    def _explain(
        self, turns: Sequence[Turn], copies: list[Detector], found: Mapping[int, list[tuple[int, Incident]]]
    ) -> None:
        """Gives each incident its reason; the copies learn."""
        reached = [at * TURNS_PER_COPY for at in range(len(copies))]
        for at, incidents in found.items():
            nearest = at // TURNS_PER_COPY
            detector = copies[nearest]
            for turn in turns[reached[nearest] : at]:
                detector.learn(turn.live)
            reached[nearest] = at
            asked = turns[at].live.take(np.array([place for place, _ in incidents], dtype=np.intp))
            reasons = detector.explain(asked, [self._units[row] for row in asked.rows])
            for (_, incident), reason in zip(incidents, reasons, strict=True):
                incident.why = reason.text

    def count(self, columns: Rows, scores: Floats) -> None:
        """Counts scores of live readings, in any order."""
        is_known = ~np.isnan(scores)
        width = len(self._highest)
        self._warm_up += np.bincount(columns[~is_known], minlength=width)
        known, found = columns[is_known], scores[is_known]
        self._scored += np.bincount(known, minlength=width)
        self._beyond += np.bincount(known[found >= self._threshold], minlength=width)
        np.maximum.at(self._highest, known, found)

    def tallies(self) -> list[Tally]:
        """By column."""
        columns = zip(self._scored, self._warm_up, self._beyond, self._highest, self._incidents, strict=True)
        return [Tally(int(a), int(b), int(c), float(d), incidents) for a, b, c, d, incidents in columns]
