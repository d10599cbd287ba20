"""The fleet snapshot (shell): from the registry, kept on disk, so that a registry that is down delays no data."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from pydantic import ValidationError

from contracts.fleet import FleetSnapshot
from stream_processor.errors import UpstreamError
from stream_processor.upstream_client import UpstreamClient

_log = logging.getLogger("stream_processor.fleet")

LONG_POLL_S = 20.0
RETRY_S = 2.0


class FleetSource:
    """Follows the registry; remembers the last snapshot in a file."""

    def __init__(self, client: UpstreamClient, path: Path) -> None:
        self._client = client
        self._path = path
        self.fleet: FleetSnapshot | None = None

    async def first(self) -> FleetSnapshot:
        """The snapshot to start with: the registry's, or the one on disk; waits if there is neither.

        The one on disk is good also where the registry tells what this version does not understand.
        """
        while True:
            try:
                fleet = await self._client.fetch_fleet(None, 0.0)
            except UpstreamError as error:
                _log.warning("registry_unavailable error=%s", error)
                fleet = _read(self._path)
            if fleet is not None:
                self._keep(fleet)
                return fleet
            await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret

    async def run(self, on_fleet: Callable[[FleetSnapshot], None]) -> None:
        """Gives each new revision to `on_fleet`, until cancelled."""
        assert self.fleet is not None  # `first` comes first
        while True:
            try:
                fleet = await self._client.fetch_fleet(self.fleet.revision, LONG_POLL_S)
            except UpstreamError as error:
                _log.warning("registry_unavailable error=%s", error)
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
                continue
            if fleet is not None and fleet.revision != self.fleet.revision:
                self._keep(fleet)
                on_fleet(fleet)

    @contextlib.asynccontextmanager
    async def following(self, on_fleet: Callable[[FleetSnapshot], None]) -> AsyncIterator[asyncio.Task[None]]:
        """`run` as a task while the block does; if it fails, its error is raised at the end of the block too."""
        task = asyncio.create_task(self.run(on_fleet), name="fleet")
        try:
            yield task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _keep(self, fleet: FleetSnapshot) -> None:
        self.fleet = fleet
        draft = self._path.with_suffix(".draft")
        draft.write_text(fleet.model_dump_json())
        draft.replace(self._path)


def _read(path: Path) -> FleetSnapshot | None:
    try:
        return FleetSnapshot.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        _log.error("fleet_snapshot_unreadable path=%s error=%s", path, error)  # the trace tells nothing
        return None
