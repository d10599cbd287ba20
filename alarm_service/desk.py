"""Where the event loop hands work to the journal's thread, and tells the long polls (shell: asyncio, threads)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, ParamSpec, TypeVar

from alarm_service.change_signal import ChangeSignal
from alarm_service.errors import AlarmServiceError, JournalUnavailableError
from alarm_service.intake import RefusedMessage
from alarm_service.journal import Journal
from contracts.alarm import Acknowledgement, Alarm, AlarmPage, ConditionEvent, ConditionReceipt, JournalEntry

ANSWER_TIMEOUT_S: Final = 12.0
"""Longer than `database.STATEMENT_TIMEOUT_S`: a PostgreSQL that neither answers nor ends the connection."""
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class AlarmDesk:
    """One journal, one thread for it, one signal: the loop never waits for a disk. Raises as the journal does."""

    def __init__(self, journal: Journal, now_ns: Callable[[], int]) -> None:
        self._journal = journal
        self._now_ns = now_ns
        self._signal = ChangeSignal(0)
        self._is_revision_known = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    async def take_events(
        self, events: Sequence[ConditionEvent], by: str, refused: Sequence[RefusedMessage] = ()
    ) -> ConditionReceipt:
        """Commits condition events and what is none, then wakes the long polls."""
        posted = await self._run(self._journal.take_events, events, by, self._now_ns(), refused)
        await self._signal.publish(posted.revision)
        return posted.receipt

    async def acknowledge(self, alarm_id: int, acknowledgement: Acknowledgement, via: str) -> Alarm:
        """Commits an acknowledgement, then wakes the long polls."""
        alarm = await self._run(self._journal.acknowledge, alarm_id, acknowledgement, via, self._now_ns())
        await self._signal.publish(alarm.revision)
        return alarm

    async def read_alarms(self, changed_after: int | None, wait_s: float) -> AlarmPage:
        """A page of alarms, after waiting for a change up to `wait_s` if a revision is given."""
        if changed_after is not None:
            await self._learn_revision()
            await self._signal.wait_for_change(changed_after, wait_s)
        return await self._run(self._journal.read_alarms, changed_after or 0)

    async def read_alarm(self, alarm_id: int) -> Alarm:
        """One alarm."""
        return await self._run(self._journal.read_alarm, alarm_id)

    async def read_entries(self, limit: int, before_entry: int | None) -> list[JournalEntry]:
        """The journal, newest first."""
        return await self._run(self._journal.read_entries, limit, before_entry)

    async def count_refused(self) -> int | None:
        """Messages of Kafka that were refused since ever; None while the journal is away."""
        try:
            return await self._run(self._journal.count_refused)
        except AlarmServiceError:
            return None

    async def wake_waiters(self) -> None:
        """Answers all long polls now and the later ones at once: the service stops."""
        await self._signal.close()

    def close(self) -> None:
        """Lets the running transaction end, then ends the thread."""
        self._thread.shutdown()

    async def _learn_revision(self) -> None:
        """Once: the journal may be away when the service begins."""
        if not self._is_revision_known:
            await self._signal.publish(await self._run(self._journal.read_revision))
            self._is_revision_known = True

    async def _run(
        self, call: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Raises JournalUnavailableError also when nothing comes back: what has not begun by then is not done."""
        work = asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                return await work
        except TimeoutError as error:
            raise JournalUnavailableError(f"no answer within {ANSWER_TIMEOUT_S:g} s") from error
