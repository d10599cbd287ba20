"""What every archive job does (shell): messages into the journals of their partitions, old journals into files.

`take` returns when the messages are on the disk: then Kafka may forget them. A disk that is full, or a partition that
another worker still has, is waited for. The fleet is followed meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Generic, Protocol, TypeVar

from contracts.fleet import FleetSnapshot
from stream_processor.configuration import UpstreamSettings
from stream_processor.distributed.job import SourceMessage
from stream_processor.fleet_index import ChannelContext, FleetIndex
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.archive")

_RETRY_S: Final = 0.5
_NS_PER_S: Final = 1_000_000_000
_ItemT = TypeVar("_ItemT")
_ItemT_contra = TypeVar("_ItemT_contra", contravariant=True)


class Archive(Protocol[_ItemT_contra]):
    """Journals and closed files of all partitions. Methods block, and raise OSError: then the call is made again."""

    contexts: Mapping[int, ChannelContext]
    """What each channel belongs to."""

    def append(self, partition: int, items: Sequence[_ItemT_contra], now_ns: int) -> None:
        """Makes messages durable."""

    def close_older(self, opened_before_ns: int, now_ns: int) -> bool:
        """Closes one journal that was opened before a time. Whether there was one."""

    def finish_begun(self) -> None:
        """After a crash: finishes what was being closed."""


class ArchiveHandler(Generic[_ItemT]):
    """Takes messages into an archive, one call at a time."""

    def __init__(
        self, archive: Archive[_ItemT], max_age_s: float, read: Callable[[SourceMessage], _ItemT | None]
    ) -> None:
        """Does nothing yet.

        Args:
            archive: where messages go.
            max_age_s: a journal that is older is closed.
            read: what the archive takes of a message; None: nothing.
        """
        self._archive = archive
        self._max_age_ns = int(max_age_s * _NS_PER_S)
        self._read = read
        self._waiting_because: str | None = None
        self.following: asyncio.Task[None] | None = None
        """What keeps the fleet up to date: if it fails, the worker ends."""

    @property
    def waiting_because(self) -> str | None:
        """What the disk last said, or that another worker has a partition."""
        return self._waiting_because

    def take_fleet(self, fleet: FleetSnapshot) -> None:
        """A new revision. Channels that it has no longer are still known: readings of them may wait in a journal."""
        self._archive.contexts = {**self._archive.contexts, **FleetIndex(fleet).contexts}

    async def take(self, messages: Sequence[SourceMessage]) -> None:
        """Returns when they are on the disk."""
        of_partition: dict[int, list[_ItemT]] = {}
        for message in messages:
            item = self._read(message)
            if item is not None:
                of_partition.setdefault(message.partition, []).append(item)
        for partition, items in of_partition.items():
            await self._until_done(partial(self._archive.append, partition, items, time.time_ns()))

    async def tick(self) -> None:
        """Closes one journal that is old enough, if there is one. Raises what has ended the following of the fleet."""
        if self.following is not None and self.following.done():
            self.following.result()
        now_ns = time.time_ns()
        await self._until_done(partial(self._archive.close_older, now_ns - self._max_age_ns, now_ns))

    async def _until_done(self, work: Callable[[], object]) -> None:
        while True:
            try:
                await asyncio.to_thread(work)
            except OSError as error:
                if self._waiting_because is None:
                    _log.warning("archive_waiting reason=%r", error)
                self._waiting_because = repr(error)
                await asyncio.sleep(_RETRY_S)
            else:
                if self._waiting_because is not None:
                    _log.info("archive_goes_on")
                self._waiting_because = None
                return


@contextlib.asynccontextmanager
async def running_handler(
    registry_settings: UpstreamSettings,
    fleet_file: Path,
    build_archive: Callable[[Mapping[int, ChannelContext]], Archive[_ItemT]],
    max_age_s: float,
    read: Callable[[SourceMessage], _ItemT | None],
) -> AsyncIterator[ArchiveHandler[_ItemT]]:
    """A handler whose archive has finished what a crash had left, and follows the fleet."""
    fleet_file.parent.mkdir(parents=True, exist_ok=True)
    async with UpstreamClient(registry_settings) as registry:
        fleets = FleetSource(registry, fleet_file)
        contexts = FleetIndex(await fleets.first()).contexts
        archive = await asyncio.to_thread(build_archive, contexts)
        await asyncio.to_thread(archive.finish_begun)
        handler = ArchiveHandler(archive, max_age_s, read)
        async with fleets.following(handler.take_fleet) as handler.following:
            yield handler
