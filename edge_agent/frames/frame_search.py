"""Finds frames in a stream of bytes, whatever they look like.

`FrameSearch` takes bytes as they come and gives whole frames and rejects in order. What a frame looks like is a
`FrameShape`'s matter; the search holds the laws that every stream protocol needs:

- each byte ends in exactly one frame or reject, and offsets count all bytes that were ever fed;
- how the bytes are cut into `feed`s changes nothing: a shape answers `MORE` until more bytes cannot change its verdict;
- after a frame that is wrong, the search goes on one byte later, so that a start inside of a corrupt or truncated frame
  is not missed; what is skipped on the way belongs to the reject of that frame, as far as the frame would have gone;
- a line that no check confirms, and in which another frame of any shape is whole, was broken off where that begins;
- memory is bounded by the longest frame: a reject of garbage is given out after `MAX_GARBAGE_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from contracts.quality import Reason
from edge_agent.commands.decoded import Rejected

MAX_GARBAGE_BYTES: Final = 1024
"""A longer run of garbage becomes several rejects."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A right frame stands here."""

    length: int
    """Bytes of the stream that it takes."""
    content: Any = None
    """What the shape made of it already (unstuffed bytes, the parts of a line)."""
    may_be_broken_off: bool = False
    """Whether this may be the beginning of one frame and all of another: no check tells, and no length."""
    is_sought_within: bool = True
    """Whether one of the former breaks off where this begins; not if it may be found anywhere by chance."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A frame begins here, but it is not right."""

    length: int
    """How far it would have gone, as far as that can be told; at least 1."""
    reason: Reason
    detail: str


class More:
    """More bytes are needed to tell."""


MORE: Final = More()
Verdict = Whole | Wrong | More | None
"""None: no frame begins here."""


class FrameShape(Protocol):
    """What one kind of frame looks like in a stream."""

    def find(self, octets: bytes | bytearray, at: int) -> int:
        """The first place from `at` on where a frame begins, or may begin once more bytes come; else the length."""

    def judge(self, octets: bytes | bytearray, at: int, is_last: bool) -> Verdict:
        """What stands at this place. `is_last`: no more bytes will come, and `MORE` is no answer."""


@dataclass(frozen=True, slots=True)
class FoundFrame:
    """A whole frame."""

    offset: int
    """Where it began in all bytes fed so far."""
    octets: bytes
    shape_index: int
    """Which of the search's shapes it has."""
    content: Any


@dataclass(slots=True)
class _OpenReject:
    """A reject that may still grow."""

    offset: int
    octets: bytearray
    wrong: Wrong | None
    """None: garbage."""

    @property
    def end(self) -> int:
        """The offset up to which it may grow."""
        return self.offset + (MAX_GARBAGE_BYTES if self.wrong is None else self.wrong.length)

    def close(self) -> Rejected:
        """As it is given out."""
        if self.wrong is None:
            return Rejected(self.offset, bytes(self.octets), Reason.MALFORMED_FRAME, "no frame begins here")
        return Rejected(self.offset, bytes(self.octets), self.wrong.reason, self.wrong.detail)


def find_start(octets: bytes | bytearray, start: bytes, at: int) -> int:
    """The first place from `at` on where `start` stands, or begins at the very end; else the length."""
    found = octets.find(start, at)
    if found >= 0:
        return found
    for length in range(min(len(start) - 1, len(octets) - at), 0, -1):
        if octets.endswith(start[:length]):
            return len(octets) - length
    return len(octets)


class FrameSearch:
    """Finds frames of several shapes; where two fit at one place, the first shape wins."""

    def __init__(self, shapes: Sequence[FrameShape]) -> None:
        self._shapes = tuple(shapes)
        self._pending = bytearray()
        self._offset = 0
        """Of the first pending byte."""
        self._reject: _OpenReject | None = None

    @property
    def is_in_frame(self) -> bool:
        """Whether the last bytes may be the beginning of a frame."""
        return bool(self._pending)

    def feed(self, octets: bytes) -> list[FoundFrame | Rejected]:
        """Takes the next bytes; gives what is decided now."""
        self._pending += octets
        return self._search(is_last=False)

    def finish(self) -> list[FoundFrame | Rejected]:
        """Nothing more comes: what is left is judged as it is. The search may be fed anew afterwards."""
        return [*self._search(is_last=True), *self._close_reject()]

    def _search(self, *, is_last: bool) -> list[FoundFrame | Rejected]:
        found: list[FoundFrame | Rejected] = []
        pending, at = self._pending, 0
        starts = [-1] * len(self._shapes)
        while at < len(pending):
            starts = [
                shape.find(pending, at) if start < at else start
                for shape, start in zip(self._shapes, starts, strict=True)
            ]
            nearest = min(starts)
            if nearest > at:
                found += self._skip(self._offset + at, pending[at:nearest], None)
                at = nearest
                continue
            shape_index, verdict = self._judge(starts, at, is_last)
            if verdict is MORE:
                break
            if isinstance(verdict, Whole) and verdict.may_be_broken_off:
                verdict = self._judge_within(verdict, bytes(pending[at : at + verdict.length]))
            if isinstance(verdict, Whole):
                octets = bytes(pending[at : at + verdict.length])
                found += self._close_reject()
                found.append(FoundFrame(self._offset + at, octets, shape_index, verdict.content))
                at += verdict.length
            else:
                assert not isinstance(verdict, More)
                found += self._skip(self._offset + at, pending[at : at + 1], verdict)
                at += 1
        del pending[:at]
        self._offset += at
        return found

    def _judge(self, starts: Sequence[int], at: int, is_last: bool) -> tuple[int, Verdict]:
        """The verdict of the first shape that finds its frame whole here, else the one that says most."""
        wrongs: list[Wrong] = []
        for shape_index, shape in enumerate(self._shapes):
            verdict = shape.judge(self._pending, at, is_last) if starts[shape_index] == at else None
            if isinstance(verdict, Whole | More):
                return shape_index, verdict
            if verdict is not None:
                wrongs.append(verdict)
        # A wrong check says more than "not this kind of frame", which is true of all kinds but one.
        return -1, next((wrong for wrong in wrongs if wrong.reason is Reason.CRC_ERROR), wrongs[0] if wrongs else None)

    def _judge_within(self, whole: Whole, octets: bytes) -> Whole | Wrong:
        """The verdict on a frame that may be broken off; from its own bytes only, however many have come since."""
        inner = min(
            (
                place
                for shape in self._shapes
                for place in _starts_within(shape, octets)
                if isinstance(found := shape.judge(octets, place, is_last=True), Whole) and found.is_sought_within
            ),
            default=None,
        )
        if inner is None:
            return whole
        return Wrong(inner, Reason.MALFORMED_FRAME, f"broken off: another frame begins at {inner}")

    def _skip(self, offset: int, octets: bytearray, wrong: Wrong | None) -> list[Rejected]:
        """Puts bytes that are in no frame into rejects; gives those that are complete by this."""
        closed: list[Rejected] = []
        while octets:
            is_inside = self._reject is not None and offset < self._reject.end
            if self._reject is None or not is_inside or (wrong is not None and _is_likelier(wrong, self._reject.wrong)):
                closed += self._close_reject()
                self._reject = _OpenReject(offset, bytearray(), wrong)
            part = octets[: self._reject.end - offset]
            self._reject.octets += part
            offset += len(part)
            octets = octets[len(part) :]
            if offset == self._reject.end:  # as long as it can be: whoever sent it may be waiting for an answer
                closed += self._close_reject()
        return closed

    def _close_reject(self) -> list[Rejected]:
        reject, self._reject = self._reject, None
        return [] if reject is None else [reject.close()]


def _starts_within(shape: FrameShape, octets: bytes) -> Iterator[int]:
    """Where frames of a shape may begin after the first of these bytes."""
    place = shape.find(octets, 1)
    while place < len(octets):
        yield place
        place = shape.find(octets, place + 1)


def _is_likelier(wrong: Wrong, before: Wrong | None) -> bool:
    """Whether this was rather meant as a frame: its shape is right and only its check is not."""
    return before is None or (wrong.reason is Reason.CRC_ERROR and before.reason is not Reason.CRC_ERROR)
