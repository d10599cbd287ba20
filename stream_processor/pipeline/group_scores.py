"""Scores of a partition's groups: what the channels of a quantity at one site show only together. Pure.

    live good readings, in order of arrival → frames of their group → score of a closed frame → stands at the group's
    readings until its next frame is closed

So a group's score is a column like any other: conditions, storage and page have it for the channels that ask for it.
It is NaN before the group's first scored frame, and for readings that are bad or late. Who is in a group:
`fleet_groups`. Groups of like size are worked on together (`width_class`), each detector of them in `held_score`.

How readings are grouped to records does not matter, and a restored state continues bit for bit, but for one thing:
forests (`score_group_forest`) are refitted in the background by whoever runs the pipeline, and score from when they are
ready. That is the one part of a pipeline's state that depends on the clock of the wall.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import ConditionDefinition, ConditionInput
from contracts.record import Bools, Floats
from contracts.score import GROUP_SCORES
from stream_processor.detectors.contract import Batch
from stream_processor.detectors.detector_snapshot import decode_snapshot, encode_snapshot
from stream_processor.detectors.group_forest import GroupForest
from stream_processor.fleet_index import ChannelContext
from stream_processor.packed_rows import Rows
from stream_processor.pipeline.channel_scores import ScoreColumns
from stream_processor.pipeline.fleet_groups import Group, GroupKey, find_groups
from stream_processor.pipeline.held_score import HeldState
from stream_processor.pipeline.width_class import Seats, WidthClass, WidthState

WIDTHS: Final = (8, 16, 32, 64)
"""Of the classes: the last one is that of the largest group there may be."""
_VERSION: Final = 1
_NAME: Final = "groups"
_CLASSES: Final = "classes"
_NO_CLASS: Final = -1


class GroupScores:
    """All groups of a partition."""

    def __init__(self) -> None:
        self._classes = _new_classes()
        self._class: NDArray[np.int8] = np.zeros(0, dtype=np.int8)
        """By row of the partition: which class its group is in."""
        self._place: Rows = np.zeros(0, dtype=np.intp)
        """By row: the place of the class."""
        self._is_asked: dict[ConditionInput, Bools] = {}
        """By score and row: whether it stands at the channel's readings."""
        self._set_point: dict[ConditionInput, Floats] = {}
        """By score that has any, and row: from where on a condition asks why; infinite where none does."""
        self.has_groups = False
        """Whether the fleet has any."""

    @property
    def forests(self) -> list[GroupForest]:
        """The forests, which know what is to be refitted and take what comes of it."""
        return [forest for each in self._classes for forest in each.forests]

    def grow(self, channel_count: int) -> None:
        """Makes room for rows up to `channel_count` - 1: new ones are in no group."""
        added = channel_count - len(self._class)
        if added <= 0:
            return
        self._class = np.concatenate([self._class, np.full(added, _NO_CLASS, dtype=np.int8)])
        self._place = np.concatenate([self._place, np.zeros(added, dtype=np.intp)])
        self._is_asked = {kind: np.append(old, np.zeros(added, np.bool_)) for kind, old in self._is_asked.items()}
        self._set_point = {kind: np.append(old, np.full(added, np.inf)) for kind, old in self._set_point.items()}

    def take_definitions(
        self,
        definitions: Iterable[ConditionDefinition],
        contexts: Mapping[int, ChannelContext],
        row_of_channel: Mapping[int, int],
    ) -> None:
        """A new fleet revision: who is in which group. What was learnt of channels that stay together is kept."""
        groups = list(find_groups(definitions, contexts))
        self.has_groups = bool(groups)
        self._class[:] = _NO_CLASS
        for number, each in enumerate(self._classes):
            places = each.take_groups([group for group in groups if _class_of(group) == number])
            rows = [row_of_channel[channel_id] for channel_id in places]
            self._class[rows] = number
            self._place[rows] = list(places.values())
        self._take_members(groups, row_of_channel)

    def _take_members(self, groups: Sequence[Group], row_of_channel: Mapping[int, int]) -> None:
        count = len(self._class)
        self._is_asked = {kind: np.zeros(count, dtype=np.bool_) for kind in GROUP_SCORES}
        self._set_point = {}
        for member in (member for group in groups for member in group.members):
            row = row_of_channel[member.channel_id]
            for kind in member.scores:
                self._is_asked[kind][row] = True
            for kind, set_point in member.set_points.items():
                self._set_point.setdefault(kind, np.full(count, np.inf))[row] = set_point

    def has_group(self, rows: Rows) -> Bools:
        """Which channels are in a group."""
        is_in: Bools = self._class[rows] != _NO_CLASS
        return is_in

    def score_and_learn(self, batch: Batch, at: Rows, columns: ScoreColumns) -> None:
        """Sets what stands at each reading.

        Args:
            batch: live good readings of channels that are in a group, in the order of their arrival; a channel may
                stand more than once.
            at: their positions in the record.
            columns: of the record.
        """
        own_class = self._class[batch.rows]
        for number, each in enumerate(self._classes):
            own = np.flatnonzero(own_class == number)
            if len(own):
                part = batch if len(own) == len(at) else batch.take(own)
                self._step_class(each, part._replace(rows=self._place[part.rows]), part.rows, at[own], columns)

    def _step_class(self, one: WidthClass, batch: Batch, rows: Rows, at: Rows, columns: ScoreColumns) -> None:
        """Readings of one class: `batch` by places of the class, `rows` of the partition."""
        for standing in one.take(batch):
            for kind, scores in standing.scores.items():
                some = rows[standing.at]
                is_shown = self._is_asked[kind][some] & ~np.isnan(scores)
                if not is_shown.any():
                    continue
                columns.set(kind, at[standing.at], np.where(is_shown, scores, np.nan))
                if kind in self._set_point:
                    for each in np.flatnonzero(is_shown & (scores >= self._set_point[kind][some])).tolist():
                        position = standing.at[each]
                        reason = one.reason(kind, int(batch.rows[position]))
                        columns.explanations[int(at[position]), kind] = reason

    def learn(self, batch: Batch) -> None:
        """As `score_and_learn`, for readings of which the scores are known: how stored history is replayed."""
        self.score_and_learn(batch, np.arange(len(batch.rows)), ScoreColumns.none(len(batch.rows)))

    # --- snapshot ----------------------------------------------------------------------------------------------------

    def snapshot(self) -> bytes:
        """All that is known of the groups, as versioned bytes: frames that are open, detectors, scores that stand."""
        states = {each.width: each.snapshot() for each in self._classes if each.has_state}
        arrays = {name: array for width, state in states.items() for name, array in _arrays(width, state).items()}
        head = json.dumps([_head(width, state) for width, state in states.items()], separators=(",", ":"))
        return encode_snapshot(_NAME, _VERSION, {_CLASSES: _packed(head.encode()), **arrays})

    def restore(self, snapshot: bytes) -> None:
        """Takes states from `snapshot`, before the first `take_definitions`; of empty bytes, none.

        Raises ValueError, and has changed nothing, if it is none of these versions.
        """
        classes = _new_classes()
        if snapshot:
            by_width = {each.width: each for each in classes}
            for width, state in _decode(snapshot):
                if width not in by_width:
                    raise ValueError(f"state of groups of {width} channels: there are classes of {WIDTHS}")
                by_width[width].restore(state)
        self._classes = classes


def _new_classes() -> tuple[WidthClass, ...]:
    return tuple(WidthClass(width) for width in WIDTHS)


def _class_of(group: Group) -> int:
    """Which of `WIDTHS`."""
    return next(number for number, width in enumerate(WIDTHS) if len(group.members) <= width)


def _head(width: int, state: WidthState) -> dict[str, Any]:
    """What of a class is no array."""
    reasons = {kind.value: held.reasons for kind, held in state.held.items()}
    return {"width": width, "seats": state.seats, "reasons": reasons}


def _arrays(width: int, state: WidthState) -> dict[str, NDArray[Any]]:
    """The arrays of a class by name."""
    arrays: dict[str, NDArray[Any]] = {f"{width}.frames": _packed(state.frames)}
    for kind, held in state.held.items():
        columns = _packed(held.detector), held.own_row, held.score
        arrays |= dict(zip(_names(width, kind), columns, strict=True))
    return arrays


def _names(width: int, kind: ConditionInput) -> tuple[str, ...]:
    return tuple(f"{width}.{kind.value}.{part}" for part in ("detector", "rows", "score"))


def _packed(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, dtype=np.uint8)


def _decode(snapshot: bytes) -> Iterator[tuple[int, WidthState]]:
    """The states with their widths. Raises ValueError if the bytes are none of this version."""
    (head,) = decode_snapshot(snapshot, _NAME, _VERSION, (_CLASSES,))
    for each in json.loads(head.tobytes()):
        width: int = each["width"]
        seats = [Seats(GroupKey(*key), int(period_ns), tuple(places)) for key, period_ns, places in each["seats"]]
        (frames,) = decode_snapshot(snapshot, _NAME, _VERSION, (f"{width}.frames",))
        held = {}
        for kind, reasons in each["reasons"].items():
            names = _names(width, ConditionInput(kind))
            detector, own_row, score = decode_snapshot(snapshot, _NAME, _VERSION, names)
            held[ConditionInput(kind)] = HeldState(detector.tobytes(), own_row, score, reasons)
        yield width, WidthState(seats, frames.tobytes(), held)
