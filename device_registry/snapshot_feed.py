"""The newest fleet snapshot for everybody who waits for it (shell: asyncio, threads).

The service's own changes are told at once. An import by another process is seen by looking at the revision twice a
second. The snapshot's JSON is built once per revision, whoever asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, ParamSpec, TypeVar

from contracts.fleet import LifecycleState, Node
from device_registry.audit import AuditEntry
from device_registry.errors import RegistryError, StoreUnavailableError
from device_registry.store import Snapshot, Store

LOOK_EVERY_S: Final = 0.5
"""How often another process's import is looked for: one row is read, about 20 µs."""
ANSWER_TIMEOUT_S: Final = 30.0
"""Longer than the largest snapshot takes: a PostgreSQL that neither answers nor ends the connection."""

_logger = logging.getLogger(__name__)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class SnapshotFeed:
    """One store, one thread for it, and those who wait for another revision. Raises as the store does."""

    def __init__(self, store: Store, now_ns: Callable[[], int]) -> None:
        self._store = store
        self._now_ns = now_ns
        self._revision = 0
        self._is_revision_known = False
        self._snapshot: Snapshot | None = None
        self._is_closed = False
        self._condition = asyncio.Condition()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def wait_for_snapshot(self, known_revision: int | None, wait_s: float) -> Snapshot | None:
        """The snapshot, as soon as its revision is not the known one; None if it still is after `wait_s`."""
        if known_revision is not None:
            await self._learn_revision()
            await self._wait_for_change(known_revision, wait_s)
            if self._revision == known_revision:
                return None
        snapshot = await self._run(self._read_snapshot, self._revision)
        await self._publish(snapshot.revision)
        return snapshot

    async def read_node(self, node_id: str) -> Node:
        """One node."""
        return await self._run(self._store.read_node, node_id)

    async def read_audit(self, limit: int, before_entry: int | None) -> list[AuditEntry]:
        """The audit log, newest first."""
        return await self._run(self._store.read_audit, limit, before_entry)

    async def change_state(self, node_id: str, wanted: LifecycleState, by: str) -> Node:
        """Moves a node on in its life, then tells everybody who waits."""
        node, revision = await self._run(self._store.change_state, node_id, wanted, by, self._now_ns())
        await self._publish(revision)
        return node

    async def watch_store(self) -> None:
        """Looks for imports by other processes until `wake_waiters`."""
        while not self._is_closed:
            try:
                await self._publish(await self._run(self._store.read_revision))
            except RegistryError as error:
                _logger.warning("event=store_unavailable error=%r", str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S), self._condition:
                    await self._condition.wait_for(lambda: self._is_closed)

    async def wake_waiters(self) -> None:
        """Answers all long polls now and the later ones at once: the service stops."""
        async with self._condition:
            self._is_closed = True
            self._condition.notify_all()

    def close(self) -> None:
        """Lets the running transaction end, then ends the thread."""
        self._thread.shutdown()

    async def _learn_revision(self) -> None:
        """Once: the store may be away when the service begins."""
        if not self._is_revision_known:
            await self._publish(await self._run(self._store.read_revision))
            self._is_revision_known = True

    async def _publish(self, revision: int) -> None:
        async with self._condition:
            if revision > self._revision:
                _logger.info("event=fleet_changed revision=%d", revision)
                self._revision = revision
                self._condition.notify_all()

    async def _wait_for_change(self, known_revision: int, timeout_s: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._condition:
                await self._condition.wait_for(lambda: self._is_closed or self._revision != known_revision)

    def _read_snapshot(self, at_least: int) -> Snapshot:
        """In the store's thread: the kept one, or a new one."""
        if self._snapshot is None or self._snapshot.revision < at_least:
            self._snapshot = self._store.build_snapshot()
        return self._snapshot

    async def _run(
        self, call: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Raises StoreUnavailableError also when nothing comes back: what has not begun by then is not done."""
        work = asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await work
        except TimeoutError as error:
            raise StoreUnavailableError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from error
