"""The desk between event loop and journal, while PostgreSQL neither answers nor ends the connection."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import pytest

from alarm_service.database import PostgresqlAddress
from alarm_service.desk import AlarmDesk
from alarm_service.errors import JournalUnavailableError
from alarm_service.journal import Journal

BACKENDS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'alarm-service%' AND datname = 'alarms_frozen'"


@contextlib.contextmanager
def frozen(pid):
    """PostgreSQL's process of our connection stands still; its kernel still acknowledges what we send."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.needs_postgresql
def test_a_database_that_stands_still_is_unavailable_and_goes_on_with_each_event_once(
    postgresql_server, make_event, monkeypatch
):
    monkeypatch.setattr("alarm_service.desk.ANSWER_TIMEOUT_S", 0.5)
    place = PostgresqlAddress(postgresql_server.make_database("alarms_frozen"), postgresql_server.password_file)

    async def story(desk):
        ((pid,),) = postgresql_server.execute(BACKENDS, "postgres")
        with frozen(pid):
            for second in (1.0, 2.0):
                with pytest.raises(JournalUnavailableError, match="no answer within"):
                    await desk.take_events([make_event("active", second)], "processor")
            assert await desk.count_refused() is None
        monkeypatch.setattr("alarm_service.desk.ANSWER_TIMEOUT_S", 20.0)
        events = [make_event("active", 1.0), make_event("active", 2.0)]
        return await desk.take_events(events, "processor")

    with Journal(place) as journal, contextlib.closing(AlarmDesk(journal, time.time_ns)) as desk:
        receipt = asyncio.run(story(desk))
        assert receipt.duplicates == 1, "the first was under way, the second had not begun"
        assert len(journal.read_entries(10, None)) == 2
