"""A stream of bytes → what each frame in it says: the frames of a search, read one by one; rejects pass. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from edge_agent.commands.decoded import Rejected
from edge_agent.frames.frame_search import FoundFrame, FrameSearch

ReadT = TypeVar("ReadT")


class SearchReader(Generic[ReadT]):
    """One direction of one stream; a `Decoder` where it reads `DecodedFrame`s."""

    def __init__(self, search: FrameSearch, read: Callable[[FoundFrame], ReadT | Rejected]) -> None:
        """Has seen nothing yet.

        Args:
            search: finds the frames.
            read: says what a frame says, or why it is refused all the same.
        """
        self._search = search
        self._read = read

    def feed(self, octets: bytes) -> list[ReadT | Rejected]:
        """Takes the next bytes; gives what is decided now, in the order of the bytes."""
        return self._read_all(self._search.feed(octets))

    def finish(self) -> list[ReadT | Rejected]:
        """Nothing more comes: what is left is judged as it is."""
        return self._read_all(self._search.finish())

    def _read_all(self, found: Iterable[FoundFrame | Rejected]) -> list[ReadT | Rejected]:
        return [one if isinstance(one, Rejected) else self._read(one) for one in found]
