"""`[store]` of the services: a file or a database, never both, never a password in it."""

from __future__ import annotations

import pytest

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from contracts.store import StoreSettings

LOCAL = "postgresql://citysense@127.0.0.1:5432/alarm_service"


def faults_of(**table):
    with pytest.raises(ConfigurationError) as caught:
        check_settings(StoreSettings, table, "a.toml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "table",
    [
        {"path": "alarms.sqlite"},
        {"url": LOCAL},
        {"url": LOCAL, "password_file": "postgresql.password"},
        {"url": "postgresql://citysense@[::1]/alarm_service"},
        {"url": "postgresql://citysense@db.city.example/alarm_service?sslmode=verify-full&sslrootcert=ca.pem"},
    ],
)
def test_a_sound_store_is_taken(table):
    assert check_settings(StoreSettings, table, "a.toml").model_dump(exclude_none=True) == table


@pytest.mark.parametrize("table", [{}, {"path": "a", "url": LOCAL}])
def test_neither_and_both_are_faults(table):
    assert faults_of(**table) == ["$: exactly one of path (SQLite) and url (PostgreSQL) is needed"]


def test_a_password_file_without_a_database_is_a_fault():
    assert faults_of(path="a", password_file="b") == ["$: password_file goes with url"]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://citysense@127.0.0.1/alarm_service",
        "postgresql://127.0.0.1/alarm_service",
        "postgresql://citysense@127.0.0.1",
        "postgresql://citysense@/alarm_service",
        "alarms.sqlite",
    ],
)
def test_what_names_no_user_host_and_database_is_a_fault(url):
    assert faults_of(url=url) == ["$: url is not postgresql://USER@HOST:PORT/DATABASE"]


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_a_password_in_the_address_is_a_fault_and_is_not_said_again(scheme):
    (fault,) = faults_of(url=f"{scheme}://citysense:secret@127.0.0.1/alarm_service")
    assert "secret" not in fault


@pytest.mark.parametrize("query", ["", "?sslmode=prefer", "?sslmode=disable"])
def test_another_machine_is_reached_with_encryption_only(query):
    (fault,) = faults_of(url=f"postgresql://citysense@db.city.example/alarm_service{query}")
    assert "sslmode=verify-full" in fault
