"""Groups of at most so many channels: their frames, their detectors, and which channel sits in which place. Pure.

State of a group is arrays as wide as its class, so that many groups are worked on at once. A group is a number within
its class, for ever; a channel sits in one of its places, and keeps it when others come and go: what was learnt of how
it moves with those that stay is kept. A group that the fleet has no more sleeps, and is there when it comes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from contracts.alarm import ConditionInput
from contracts.record import Floats
from contracts.score import GROUP_SCORES
from stream_processor.detectors.asset_frame import AssetFrames
from stream_processor.detectors.contract import Batch
from stream_processor.detectors.group_forest import GroupForest
from stream_processor.packed_rows import Rows
from stream_processor.pipeline.fleet_groups import Group, GroupKey
from stream_processor.pipeline.held_score import HeldScore, HeldState, Watch

NOBODY: Final = -1
"""In a place that is free."""


class Seats(NamedTuple):
    """A group's places."""

    key: GroupKey
    period_ns: int
    channel_ids: tuple[int, ...]
    """By place."""


class WidthState(NamedTuple):
    """What is remembered of a class."""

    seats: list[Seats]
    frames: bytes
    held: dict[ConditionInput, HeldState]
    """Of detectors that any group ever used."""


class Standing(NamedTuple):
    """What stands at some readings."""

    at: Rows
    """Positions of the readings in their batch."""
    scores: Mapping[ConditionInput, Floats]
    """By score that any group uses; NaN where there is none."""


class WidthClass:
    """Groups of at most `width` channels. A place of the class is group · width + place of the group."""

    def __init__(self, width: int) -> None:
        self.width = width
        self._seats: list[Seats] = []
        """By group."""
        self._number: dict[GroupKey, int] = {}
        self._frames = AssetFrames(width)
        self._held = {kind: HeldScore(kind, width) for kind in GROUP_SCORES}

    @property
    def forests(self) -> list[GroupForest]:
        """Detectors that are refitted from time to time."""
        detectors = (held.detector for held in self._held.values() if held.has_state)
        return [each for each in detectors if isinstance(each, GroupForest)]

    @property
    def has_state(self) -> bool:
        """Whether it ever had a group."""
        return bool(self._seats)

    def take_groups(self, groups: Sequence[Group]) -> dict[int, int]:
        """A new fleet revision: all groups of this class.

        Returns:
            The place of the class of each of their channels.
        """
        numbers = [self._number.setdefault(group.key, len(self._number)) for group in groups]
        count = len(self._number)
        self._frames.grow(count * self.width, count)
        known = len(self._seats)
        self._seats += [Seats(key, 0, (NOBODY,) * self.width) for key in list(self._number)[known:]]
        for number, group in zip(numbers, groups, strict=True):
            self._seat(number, group)
        for kind, held in self._held.items():
            used = [number for number, group in zip(numbers, groups, strict=True) if _uses(group, kind)]
            watches = {
                number: watch
                for number, group in zip(numbers, groups, strict=True)
                if (watch := self._watch(number, group, kind)) is not None
            }
            held.take_groups(used, count, watches)
        return {
            channel_id: number * self.width + place
            for number in numbers
            for place, channel_id in enumerate(self._seats[number].channel_ids)
            if channel_id != NOBODY
        }

    def _seat(self, number: int, group: Group) -> None:
        """Gives channels that are new the places of those that have gone; a group that is another one begins anew."""
        key, period_ns, before = self._seats[number]
        members = [member.channel_id for member in group.members]
        if period_ns == group.period_ns and {*members} == {*before} - {NOBODY}:
            return
        if period_ns != group.period_ns or not set(members) & set(before):
            after = [*members, *[NOBODY] * (self.width - len(members))]
            changed = None
        else:
            after = _reseated(before, members)
            changed = [place for place in range(self.width) if before[place] != after[place]]
        self._seats[number] = Seats(key, group.period_ns, tuple(after))
        self._frames.set_asset(number, range(number * self.width, (number + 1) * self.width), group.period_ns)
        for held in self._held.values():
            held.forget(number, changed)

    def _watch(self, number: int, group: Group, kind: ConditionInput) -> Watch | None:
        set_points = [member.set_points[kind] for member in group.members if kind in member.set_points]
        if not set_points:
            return None
        names = {member.channel_id: member.node_id for member in group.members}
        places = self._seats[number].channel_ids
        return Watch(min(set_points), [names.get(each, "") for each in places], [group.unit] * self.width)

    def take(self, batch: Batch) -> Iterator[Standing]:
        """Takes live good readings, in the order of their arrival; `batch.rows` are places of the class.

        Gives all of them back, in parts: those before the first closing of their group in the batch, those after it,
        and so on. While a part is looked at, `reason` is that of its scores.
        """
        groups = batch.rows // self.width
        taken = self._frames.take(batch)
        used = {kind: held for kind, held in self._held.items() if held.is_used}
        for number in range(len(taken.closed) + 1):
            if number > 0:
                for held in used.values():
                    held.take(taken.closed[number - 1])
            at = np.flatnonzero(taken.closings == number)
            if len(at):
                yield Standing(at, {kind: held.at(groups[at]) for kind, held in used.items()})

    def reason(self, kind: ConditionInput, place: int) -> str:
        """Why the score that stands reaches a set-point; empty if it does not."""
        return self._held[kind].reasons.get(place // self.width, "")

    def snapshot(self) -> WidthState:
        """The state, without what the fleet says."""
        held = {kind: each.snapshot() for kind, each in self._held.items() if each.has_state}
        return WidthState(list(self._seats), self._frames.snapshot(), held)

    def restore(self, state: WidthState) -> None:
        """Takes a state, before the fleet. Raises ValueError if a part is of another version."""
        self._frames.restore(state.frames)
        for kind, held in state.held.items():
            self._held[kind].restore(held)
        self._seats = list(state.seats)
        self._number = {seats.key: number for number, seats in enumerate(self._seats)}


def _uses(group: Group, kind: ConditionInput) -> bool:
    return any(kind in member.scores for member in group.members)


def _reseated(before: Sequence[int], members: Sequence[int]) -> list[int]:
    """Places of a group after others came and went."""
    after = [each if each in members else NOBODY for each in before]
    newcomers = iter([each for each in members if each not in after])
    return [next(newcomers, NOBODY) if each == NOBODY else each for each in after]
