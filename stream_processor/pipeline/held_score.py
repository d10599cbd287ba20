"""One detector of groups: what it said of each group's last frame stands until the group's next one is closed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import EXPLANATION_LENGTH_MAX, ConditionInput
from contracts.record import Bools, Floats
from stream_processor.detectors import GROUP_DETECTORS
from stream_processor.detectors.contract import Rows
from stream_processor.detectors.group_contract import Frames, GroupDetector
from stream_processor.pipeline.channel_scores import rounded

_NO_ROW: Final = -1
_NUMBERS_A_BLOCK: Final = 65_536
"""Of covariances that are worked on at once: they stay in the processor's cache, however many groups close a frame."""


class Watch(NamedTuple):
    """A group whose score has to say why."""

    set_point: float
    """From here on."""
    names: Sequence[str]
    """What each place is called."""
    units: Sequence[str]


class HeldState(NamedTuple):
    """What is remembered of a detector of groups."""

    detector: bytes
    own_row: NDArray[Any]
    score: NDArray[Any]
    reasons: dict[str, str]
    """By the number of the group."""


class HeldScore:
    """A detector over those groups of at most `width` channels that use it. A group is a number from 0."""

    def __init__(self, kind: ConditionInput, width: int) -> None:
        self.detector: GroupDetector = GROUP_DETECTORS[kind.value.removeprefix("score_")](width)
        self.reasons: dict[int, str] = {}
        """By group: why the score that stands now reaches a set-point."""
        self._block = max(_NUMBERS_A_BLOCK // width**2, 1)
        self._own_row: Rows = np.zeros(0, dtype=np.intp)
        """By group: the detector's."""
        self._own_count = 0
        self._is_used: Bools = np.zeros(0, dtype=np.bool_)
        self._score: Floats = np.zeros(0)
        """By group: what stands now; NaN where there is none."""
        self._watches: Mapping[int, Watch] = {}

    @property
    def is_used(self) -> bool:
        """Whether any group uses it."""
        return bool(self._is_used.any())

    @property
    def has_state(self) -> bool:
        """Whether any group ever used it."""
        return self._own_count > 0

    def take_groups(self, used: Sequence[int], count: int, watches: Mapping[int, Watch]) -> None:
        """A new fleet revision: which of `count` groups use it. What was learnt of others is kept for their return."""
        added = count - len(self._own_row)
        self._own_row = np.concatenate([self._own_row, np.full(added, _NO_ROW)])
        self._score = np.concatenate([self._score, np.full(added, np.nan)])
        self._is_used = np.zeros(count, dtype=np.bool_)
        self._is_used[list(used)] = True
        new = np.flatnonzero(self._is_used & (self._own_row == _NO_ROW))
        self._own_row[new] = np.arange(self._own_count, self._own_count + len(new))
        self._own_count += len(new)
        self.detector.grow(self._own_count)
        self._score[~self._is_used] = np.nan
        self._watches = watches
        self.reasons = {group: text for group, text in self.reasons.items() if group in watches}

    def forget(self, group: int, places: Sequence[int] | None) -> None:
        """These places of a group (None: all) are other channels now; its score stands no more."""
        if group >= len(self._own_row) or self._own_row[group] == _NO_ROW:
            return
        row = int(self._own_row[group])
        if places is None:
            self.detector.forget(np.array([row]))
        else:
            self.detector.forget_places(row, places)
        self._score[group] = np.nan
        self.reasons.pop(group, None)

    def take(self, frames: Frames) -> None:
        """Frames that were closed, at most one a group: their scores stand from now on, and are learnt."""
        frames = frames.take(np.flatnonzero(self._is_used[frames.rows]))
        for start in range(0, len(frames.rows), self._block):
            self._take_block(frames.take(np.arange(start, min(start + self._block, len(frames.rows)))))

    def _take_block(self, frames: Frames) -> None:
        groups = frames.rows
        own = frames._replace(rows=self._own_row[groups])
        if self._watches:
            self._explain(groups, own)
        self._score[groups] = rounded(self.detector.score_and_learn(own))

    def _explain(self, groups: Rows, own: Frames) -> None:
        """Why, of the groups whose score reaches their set-point: before the frame is learnt."""
        for at, group in enumerate(groups.tolist()):
            self.reasons.pop(group, None)
            watch = self._watches.get(group)
            if watch is None:
                continue
            frame = own.take(np.array([at]))
            if rounded(self.detector.score(frame))[0] >= watch.set_point:
                (why,) = self.detector.explain(frame, [watch.names], [watch.units])
                self.reasons[group] = why.text[:EXPLANATION_LENGTH_MAX]

    def at(self, groups: Rows) -> Floats:
        """What stands at readings of these groups."""
        return self._score[groups]

    def snapshot(self) -> HeldState:
        """The state, without what the fleet says."""
        reasons = {str(group): text for group, text in sorted(self.reasons.items())}
        return HeldState(self.detector.snapshot(), self._own_row.astype(np.int32), self._score, reasons)

    def restore(self, state: HeldState) -> None:
        """Takes a state. Raises ValueError if it is of another detector or version."""
        self.detector.restore(state.detector)
        self._own_row, self._score = state.own_row.astype(np.intp), state.score
        self._own_count = int(self._own_row.max(initial=_NO_ROW)) + 1
        self._is_used = np.zeros(len(self._own_row), dtype=np.bool_)
        self.reasons = {int(group): text for group, text in state.reasons.items()}
