"""The journal file: idempotent, all or nothing, append-only."""

from __future__ import annotations

import sqlite3

import pytest

from alarm_service.errors import JournalUnavailableError, JournalVersionError, UnknownAlarmError
from alarm_service.journal import PAGE_SIZE_MAX, Journal
from contracts.alarm import Acknowledgement


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alarms.sqlite"


def test_an_event_told_twice_counts_once(journal, make_event, at):
    event = make_event("active", 1.0)
    first = journal.take_events([event], "processor", at(2))
    again = journal.take_events([event, make_event("normal", 3.0)], "processor", at(4))
    assert (first.receipt.accepted, first.receipt.duplicates) == (1, 0)
    assert (again.receipt.accepted, again.receipt.duplicates) == (1, 1)
    assert [entry.kind for entry in journal.read_entries(10, None)] == ["returned", "activated"]


def test_a_duplicate_is_known_after_a_restart(path, make_event, at):
    with Journal(path) as journal:
        journal.take_events([make_event("active", 1.0)], "processor", at(2))
    with Journal(path) as journal:
        assert journal.take_events([make_event("active", 1.0)], "processor", at(3)).receipt.duplicates == 1
        assert len(journal.read_alarms(0).alarms) == 1


def test_the_order_of_events_is_known_after_a_restart(path, make_event, at):
    with Journal(path) as journal:
        journal.take_events([make_event("active", 10.0)], "processor", at(11))
    with Journal(path) as journal:
        journal.take_events([make_event("normal", 9.0)], "processor", at(12))
        assert journal.read_alarm(1).state == "unacknowledged"


def test_an_acknowledgement_does_not_forget_the_order_of_events(journal, make_event, at):
    journal.take_events([make_event("active", 10.0)], "processor", at(11))
    journal.acknowledge(1, Acknowledgement(by="zhang"), "console", at(12))
    journal.take_events([make_event("normal", 9.0)], "processor", at(13))
    assert journal.read_alarm(1).state == "acknowledged"


def test_a_post_that_fails_half_way_keeps_nothing_of_it(journal, path, make_event, at):
    with sqlite3.connect(path) as saboteur:
        saboteur.execute(
            "CREATE TRIGGER disk_fault BEFORE INSERT ON journal WHEN NEW.condition_id = 'second'"
            " BEGIN SELECT RAISE(ABORT, 'disk fault'); END"
        )
    saboteur.close()
    events = [make_event("active", 1.0), make_event("active", 1.0, condition_id="second")]
    with pytest.raises(sqlite3.IntegrityError, match="disk fault"):
        journal.take_events(events, "processor", at(2))
    assert journal.read_alarms(0).alarms == []
    assert journal.read_entries(10, None) == []
    assert journal.read_revision() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE journal SET detail = 'nothing happened'",
        "DELETE FROM journal",
        "REPLACE INTO journal SELECT entry_id, time_ns, kind, NULL, condition_id, 'me', '', NULL, NULL FROM journal",
        "REPLACE INTO journal SELECT 99, time_ns, kind, alarm_id, condition_id, 'me', '', event_id, NULL FROM journal",
        "DELETE FROM alarm",
    ],
)
def test_history_cannot_be_rewritten(journal, path, make_event, at, statement):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    before = journal.read_entries(10, None)
    intruder = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match=r"append-only|never deleted"):
        intruder.execute(statement)
    intruder.close()
    assert journal.read_entries(10, None) == before


def test_two_open_alarms_of_one_condition_cannot_be_stored(journal, path, make_event, at):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    intruder = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        intruder.execute("INSERT INTO alarm SELECT 2, 99, condition_id, state, document FROM alarm")
    intruder.close()


def test_the_list_without_a_revision_holds_what_is_not_normal_gravest_first(journal, make_event, at):
    conditions = [("mild", 3), ("over", 1), ("grave", 1), ("middling", 2)]
    events = [
        make_event("active", 1.0, condition_id=condition_id, priority=priority) for condition_id, priority in conditions
    ]
    journal.take_events(events, "processor", at(2))
    journal.acknowledge(2, Acknowledgement(by="zhang"), "console", at(3))
    journal.take_events([make_event("normal", 4.0, condition_id="over")], "processor", at(5))
    page = journal.read_alarms(0)
    assert [alarm.condition_id for alarm in page.alarms] == ["grave", "middling", "mild"]


def test_a_client_learns_that_an_alarm_became_normal(journal, make_event, at):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    journal.acknowledge(1, Acknowledgement(by="zhang"), "console", at(3))
    known = journal.read_alarms(0).revision
    assert journal.read_alarms(known).alarms == []
    journal.take_events([make_event("normal", 4.0)], "processor", at(5))
    page = journal.read_alarms(known)
    assert [alarm.state for alarm in page.alarms] == ["normal"]
    assert page.revision > known


def test_a_client_that_is_far_behind_gets_everything_in_pages(journal, make_event, at):
    names = [f"condition-{number}" for number in range(PAGE_SIZE_MAX + 5)]
    events = [make_event("active", 1.0, condition_id=name) for name in names]
    journal.take_events(events[:1000], "processor", at(2))
    journal.take_events(events[1000:], "processor", at(2))
    seen, revision = [], 1
    for _ in range(2):
        page = journal.read_alarms(revision)
        seen += [alarm.condition_id for alarm in page.alarms]
        revision = page.revision
    assert sorted(seen) == sorted(names[1:])
    assert revision == journal.read_revision()


def test_a_client_from_before_a_restored_backup_starts_anew(journal, make_event, at):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    page = journal.read_alarms(1_000)
    assert (page.revision, len(page.alarms)) == (1, 1)


def test_the_journal_is_paged_newest_first(journal, make_event, at):
    for second in range(5):
        journal.take_events([make_event("active", second)], "processor", at(second))
    newest = journal.read_entries(2, None)
    older = journal.read_entries(10, newest[-1].entry_id)
    assert [entry.entry_id for entry in newest + older] == [5, 4, 3, 2, 1]
    assert older[-1].by == "processor"


def test_a_historical_event_raises_nothing(journal, make_event, at):
    posted = journal.take_events([make_event("active", 1.0, is_historical=True)], "processor", at(9_000))
    assert posted.receipt.accepted == 1
    assert journal.read_alarms(0).alarms == []
    assert [(entry.kind, entry.alarm_id) for entry in journal.read_entries(10, None)] == [("historical", None)]


def test_an_unknown_alarm_is_named(journal):
    with pytest.raises(UnknownAlarmError, match="no alarm 4"):
        journal.read_alarm(4)
    with pytest.raises(UnknownAlarmError):
        journal.acknowledge(4, Acknowledgement(by="zhang"), "console", 1)


def test_a_locked_file_is_a_passing_trouble(journal, path, make_event, at):
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    journal._connection.execute("PRAGMA busy_timeout = 0")
    with pytest.raises(JournalUnavailableError, match="locked"):
        journal.take_events([make_event("active", 1.0)], "processor", at(2))
    holder.execute("ROLLBACK")
    holder.close()
    assert journal.take_events([make_event("active", 1.0)], "processor", at(3)).receipt.accepted == 1


def test_a_journal_of_another_version_is_left_alone(path):
    later = sqlite3.connect(path)
    later.execute("PRAGMA user_version = 2")
    later.close()
    with pytest.raises(JournalVersionError, match="version 2, this program knows 1"):
        Journal(path)


def test_a_file_that_is_no_database_is_refused(path):
    path.write_text("hello " * 1000)
    with pytest.raises(JournalUnavailableError, match="not a database"):
        Journal(path)


def test_commits_are_durable_against_power_cuts(journal):
    ((mode,),) = journal._rows("PRAGMA journal_mode")
    ((synchronous,),) = journal._rows("PRAGMA synchronous")
    assert (mode, synchronous) == ("wal", 2), "WAL with synchronous=FULL (2)"
