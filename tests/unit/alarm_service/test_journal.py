"""The journal: idempotent, all or nothing, append-only, in SQLite and in PostgreSQL."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from alarm_service.database import PostgresqlAddress
from alarm_service.errors import (
    JournalHeldError,
    JournalRefusedError,
    JournalUnavailableError,
    JournalVersionError,
    UnknownAlarmError,
)
from alarm_service.intake import RefusedMessage
from alarm_service.journal import PAGE_SIZE_MAX, Journal
from contracts.alarm import Acknowledgement

GOLDEN = Path(__file__).parents[2] / "golden/alarm_service"
AGAINST_A_CONSTRAINT = (sqlite3.IntegrityError, psycopg.IntegrityError)


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


def test_an_event_that_stands_twice_in_a_batch_counts_once(journal, make_event, at):
    event = make_event("active", 1.0)
    receipt = journal.take_events([event, make_event("normal", 2.0), event], "processor", at(3)).receipt
    assert (receipt.accepted, receipt.duplicates) == (2, 1)
    assert [entry.kind for entry in journal.read_entries(10, None)] == ["returned", "activated"]


def test_a_batch_leaves_what_its_events_one_by_one_would_leave(journal, make_event, at):
    first = [make_event("active", 1.0), make_event("active", 1.5, condition_id="other"), make_event("normal", 2.0)]
    journal.take_events(first, "processor", at(3))
    journal.acknowledge(1, Acknowledgement(by="zhang"), "console", at(4))
    again = [make_event("active", 5.0), make_event("normal", 6.0), make_event("active", 7.0)]
    revision = journal.take_events(again, "processor", at(8)).revision
    assert journal.read_alarm(1).state == "normal"
    told = [(alarm.alarm_id, alarm.condition_id, alarm.revision) for alarm in journal.read_alarms(0).alarms]
    assert sorted(told) == [(2, "other", 2), (3, "gas-1-high", 7)]
    assert revision == journal.read_revision() == 7
    assert [entry.kind for entry in journal.read_entries(3, None)] == ["activated", "returned", "activated"]


def test_a_duplicate_is_known_after_a_restart(place, make_event, at):
    with Journal(place) as journal:
        journal.take_events([make_event("active", 1.0)], "processor", at(2))
    with Journal(place) as journal:
        assert journal.take_events([make_event("active", 1.0)], "processor", at(3)).receipt.duplicates == 1
        assert len(journal.read_alarms(0).alarms) == 1


def test_the_order_of_events_is_known_after_a_restart(place, make_event, at):
    with Journal(place) as journal:
        journal.take_events([make_event("active", 10.0)], "processor", at(11))
    with Journal(place) as journal:
        journal.take_events([make_event("normal", 9.0)], "processor", at(12))
        assert journal.read_alarm(1).state == "unacknowledged"


def test_an_acknowledgement_does_not_forget_the_order_of_events(journal, make_event, at):
    journal.take_events([make_event("active", 10.0)], "processor", at(11))
    journal.acknowledge(1, Acknowledgement(by="zhang"), "console", at(12))
    journal.take_events([make_event("normal", 9.0)], "processor", at(13))
    assert journal.read_alarm(1).state == "acknowledged"


DISK_FAULT = {
    "sqlite": [
        (
            "CREATE TRIGGER disk_fault BEFORE INSERT ON journal WHEN NEW.condition_id = 'second'"
            " BEGIN SELECT RAISE(ABORT, 'disk fault'); END"
        )
    ],
    "postgresql": [
        (
            "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'disk fault'"
            " USING ERRCODE = 'integrity_constraint_violation'; END $$"
        ),
        (
            "CREATE TRIGGER disk_fault BEFORE INSERT ON journal FOR EACH ROW WHEN (NEW.condition_id = 'second')"
            " EXECUTE FUNCTION fault()"
        ),
    ],
}


def test_a_post_that_fails_half_way_keeps_nothing_of_it(journal, intrude, make_event, at):
    intrude(*DISK_FAULT[journal._database.kind])
    events = [make_event("active", 1.0), make_event("active", 1.0, condition_id="second")]
    with pytest.raises(JournalRefusedError, match="disk fault"):
        journal.take_events(events, "processor", at(2), [RefusedMessage("t", 0, 1, 2, "no event", b"x")])
    assert journal.read_alarms(0).alarms == []
    assert journal.read_entries(10, None) == []
    assert (journal.read_revision(), journal.count_refused()) == (0, 0)


REWRITINGS = {
    "UPDATE journal SET detail = 'nothing happened'": {"sqlite", "postgresql"},
    "DELETE FROM journal": {"sqlite", "postgresql"},
    "DELETE FROM alarm": {"sqlite", "postgresql"},
    "REPLACE INTO journal SELECT entry_id, 1, kind, NULL, 'x', 'me', '', NULL, NULL FROM journal": {"sqlite"},
    "REPLACE INTO journal SELECT 99, time_ns, kind, alarm_id, 'x', 'me', '', event_id, NULL FROM journal": {"sqlite"},
    "TRUNCATE journal": {"postgresql"},
    "TRUNCATE alarm CASCADE": {"postgresql"},
    "INSERT INTO journal SELECT * FROM journal ON CONFLICT (entry_id) DO UPDATE SET detail = ''": {"postgresql"},
}


@pytest.mark.parametrize("statement", REWRITINGS)
def test_history_cannot_be_rewritten(journal, intrude, make_event, at, statement):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    before = journal.read_entries(10, None)
    if journal._database.kind in REWRITINGS[statement]:
        with pytest.raises((*AGAINST_A_CONSTRAINT, psycopg.errors.GeneratedAlways), match=EACH_REFUSAL):
            intrude(statement)
    assert journal.read_entries(10, None) == before


EACH_REFUSAL = r"append-only|never deleted|non-DEFAULT value"


def test_two_open_alarms_of_one_condition_cannot_be_stored(journal, intrude, make_event, at):
    journal.take_events([make_event("active", 1.0)], "processor", at(2))
    with pytest.raises(AGAINST_A_CONSTRAINT, match=r"UNIQUE|one_open_alarm"):
        intrude("INSERT INTO alarm SELECT 2, 99, condition_id, state, document FROM alarm")


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


def test_a_lock_is_a_passing_trouble(journal, in_trouble, make_event, at):
    with in_trouble(), pytest.raises(JournalUnavailableError, match="lock"):
        journal.take_events([make_event("active", 1.0)], "processor", at(2))
    assert journal.take_events([make_event("active", 1.0)], "processor", at(3)).receipt.accepted == 1


def test_a_title_with_a_nul_is_stored_as_a_sign_for_it(journal, make_event, at):
    journal.take_events([make_event("active", 1.0, title="a\0b")], "processor", at(2))
    assert journal.read_alarm(1).title == "a\0b"
    assert journal.read_entries(1, None)[0].detail.startswith("a\N{SYMBOL FOR NULL}b: 26.5")


def test_a_refused_message_is_kept_once_with_the_event_beside_it(journal, make_event, at):
    messages = [RefusedMessage("alarm.conditions", 3, 7, 1_790_000_000_000, "no event", bytes(range(256)))] * 2
    journal.take_events([make_event("active", 1.0)], "kafka", at(2), messages)
    journal.take_events([], "kafka", at(3), messages)
    assert (journal.count_refused(), len(journal.read_entries(10, None))) == (1, 1)
    told = RefusedMessage("alarm.conditions", 3, 7, 1_790_000_009_999, "another topic of that name", None)
    journal.take_events([], "kafka", at(4), [told])
    assert journal.count_refused() == 2


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def test_a_journal_of_another_version_is_left_alone(engine, request, tmp_path):
    if engine == "sqlite":
        place = tmp_path / "alarms.sqlite"
        later = sqlite3.connect(place)
        later.execute("PRAGMA user_version = 2")
        later.close()
    else:
        server = request.getfixturevalue("postgresql_server")
        place = PostgresqlAddress(server.make_database("alarms_later"), server.password_file)
        server.execute("CREATE TABLE alarm_schema AS SELECT 2::bigint AS version", "alarms_later")
    with pytest.raises(JournalVersionError, match="version 2, this program knows 1"):
        Journal(place)


def test_a_file_of_version_0_1_0_is_opened_and_goes_on(path, make_event, at):
    file = sqlite3.connect(path)
    file.executescript((GOLDEN / "version_1.sql").read_text())
    file.close()
    with Journal(path) as journal:
        assert [alarm.alarm_id for alarm in journal.read_alarms(0).alarms] == [2]
        assert (journal.read_alarm(1).acknowledged_by, journal.read_revision()) == ("zhang", 4)
        known = make_event("active", 1.0, event_id="ec830c0e99f3594741cea944e8522108")
        posted = journal.take_events([known, make_event("active", 9.0)], "processor", at(10))
        assert (posted.receipt.accepted, posted.receipt.duplicates, posted.revision) == (1, 1, 5)
        assert [entry.entry_id for entry in journal.read_entries(10, None)] == [5, 4, 3, 2, 1]
        journal.take_events([], "kafka", at(11), [RefusedMessage("t", 0, 1, 2, "no event", None)])
        assert journal.count_refused() == 1


def test_a_file_that_is_no_database_is_refused(path):
    path.write_text("hello " * 1000)
    with pytest.raises(JournalUnavailableError, match="not a database"):
        Journal(path)


def test_commits_are_durable_against_power_cuts(journal):
    wanted = {
        "sqlite": {"PRAGMA journal_mode": "wal", "PRAGMA synchronous": 2},  # 2 is FULL
        "postgresql": {"SHOW synchronous_commit": "on", "SHOW fsync": "on"},
    }
    with journal._database.transaction() as connection:
        for question, answer in wanted[journal._database.kind].items():
            assert connection.exec_driver_sql(question).scalar() == answer


@pytest.mark.needs_postgresql
def test_the_second_journal_on_a_database_learns_who_holds_it(postgresql_server, make_event, at, monkeypatch):
    monkeypatch.setattr("alarm_service.database.HELD_PATIENCE_S", 0.2)
    place = PostgresqlAddress(postgresql_server.make_database("alarms_held"), postgresql_server.password_file)
    with Journal(place) as journal:
        with pytest.raises(JournalHeldError, match=r"in use by alarm-service \S+ process \d+ \(from 127\.0\.0\.1"):
            Journal(place)
        assert journal.take_events([make_event("active", 1.0)], "processor", at(2)).receipt.accepted == 1
    with Journal(place) as journal:
        assert journal.read_revision() == 1


@pytest.mark.needs_postgresql
def test_a_connection_that_broke_is_opened_again_and_holds_the_lock_again(postgresql_server, make_event, at):
    place = PostgresqlAddress(postgresql_server.make_database("alarms_broken"), postgresql_server.password_file)
    with Journal(place) as journal:
        ended = postgresql_server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'alarm-service%'"
            " AND datname = 'alarms_broken'",
            "postgres",
        )
        assert ended == [(True,)]
        assert journal.take_events([make_event("active", 1.0)], "processor", at(2)).receipt.accepted == 1
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
        held += " (SELECT oid FROM pg_database WHERE datname = 'alarms_broken')"
        assert postgresql_server.execute(held, "postgres") == [(1,)]


@pytest.mark.needs_postgresql
def test_a_wrong_password_is_a_trouble_that_a_changed_file_ends(postgresql_server, tmp_path):
    url = postgresql_server.make_database("alarms_password")
    password_file = tmp_path / "password"
    with Journal(PostgresqlAddress(url, password_file)) as journal:
        with pytest.raises(JournalUnavailableError, match="password file cannot be read"):
            journal.read_revision()
        password_file.write_text("guess")
        with pytest.raises(JournalUnavailableError, match="password authentication failed"):
            journal.read_revision()
        password_file.write_text(postgresql_server.password_file.read_text() + "\n")
        assert journal.read_revision() == 0
