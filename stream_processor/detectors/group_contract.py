"""What a detector of groups is: it scores frames, the short means of all channels of an asset at one time.

A group is an asset: a bridge, a tank farm, the detectors of a hall. Its score belongs to the asset and the frame, not
to one of its readings, and means the same as any other (`contract`). Readings become frames in `asset_frame`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol

from contracts.record import Bools, Floats, Int64s
from stream_processor.detectors.contract import VALUE_MAX, Explanation
from stream_processor.packed_rows import Rows

__all__ = ["Frames", "GroupDetector", "check_frames"]


class Frames(NamedTuple):
    """One frame a line. A matrix is as wide as the detector; a place is one channel of the asset."""

    rows: Rows
    """The asset of each frame, as a row of the detector's state."""
    times_ns: Int64s
    """When the frame ended: nanoseconds since 1970, UTC."""
    values: Floats
    """The short mean of each channel, in its unit; NaN where the channel was not heard, or where there is none."""
    resolutions: Floats
    """The smallest difference that means something, of each channel, > 0 where there is a value."""

    @property
    def is_present(self) -> Bools:
        """Where there is a value."""
        present: Bools = self.values == self.values  # NaN alone is not itself
        return present

    def take(self, positions: Rows) -> Frames:
        """The frames at these positions."""
        rows, times_ns, values, resolutions = self
        return Frames(rows[positions], times_ns[positions], values[positions], resolutions[positions])


class GroupDetector(Protocol):
    """One algorithm over many assets at once, each of at most `width` channels. Built with its width.

    The laws are those of `contract.Detector`, of frames instead of readings: `score` learns nothing; in one call to
    `learn` or `score_and_learn` an asset stands at most once; a snapshot continues bit for bit; a batch means what its
    frames mean one by one. A channel that is missing is not a fault: the others are scored without it.
    """

    NAME: ClassVar[str]
    VERSION: ClassVar[int]
    width: int
    """Channels of the largest asset that it takes."""

    @property
    def warm_up_frames(self) -> int:
        """An asset has no score before it has been seen this often."""

    @property
    def state_bytes(self) -> int:
        """Of one asset, at most this; a channel's share is this divided by `width`."""

    def grow(self, asset_count: int) -> None:
        """Makes room for rows up to `asset_count` - 1."""

    def forget(self, rows: Rows) -> None:
        """Puts assets back into warm-up: their channels are others now."""

    def forget_places(self, row: int, places: Sequence[int]) -> None:
        """Some channels of an asset are others now, or none: what is known of the rest is kept where it can be."""

    def score(self, frames: Frames) -> Floats:
        """One score a frame, 0 to 1; NaN while the asset is in warm-up, or if the frame is empty."""

    def learn(self, frames: Frames) -> None:
        """Learns each frame."""

    def score_and_learn(self, frames: Frames) -> Floats:
        """`score`, then `learn`."""

    def explain(
        self, frames: Frames, names: Sequence[Sequence[str]], units: Sequence[Sequence[str]]
    ) -> list[Explanation]:
        """Which channels the scores come from, asked before the frames are learnt.

        Args:
            frames: as for `score`.
            names: what each channel is called, by frame and place.
            units: its unit, to be shown ("µε").
        """

    def snapshot(self) -> bytes:
        """The state as versioned bytes; `restore` continues bit for bit."""

    def restore(self, snapshot: bytes) -> None:
        """Takes a state from `snapshot`. Raises ValueError if it is none of this detector, version and width."""


def check_frames(frames: Frames, width: int) -> None:
    """Raises ValueError if the frames are of another width, or a value is beyond ± `VALUE_MAX`."""
    if frames.values.shape != (len(frames.rows), width):
        raise ValueError(f"frames of shape {frames.values.shape}, not {(len(frames.rows), width)}")
    with_value = frames.values[frames.is_present]
    if len(with_value) and not (with_value.min() >= -VALUE_MAX and with_value.max() <= VALUE_MAX):
        raise ValueError(f"a frame with a value beyond ±{VALUE_MAX:g}: {with_value.min()} to {with_value.max()}")
