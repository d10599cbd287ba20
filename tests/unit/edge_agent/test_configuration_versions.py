"""The folder of versions of a configuration file."""

from __future__ import annotations

import pytest

from edge_agent.settings.configuration_versions import KEPT_VERSIONS, ConfigurationVersions


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "state/versions"


def test_a_text_is_a_version_once_and_stays_over_a_restart(folder):
    versions = ConfigurationVersions(folder)
    assert versions.good_text() is None
    assert [versions.take_in(text) for text in ("one", "one", "two")] == [1, 1, 2]
    versions.pass_trial(1)
    again = ConfigurationVersions(folder)
    assert (again.state.newest, again.state.good, again.good_text()) == (2, 1, "one")
    assert again.take_in("two") == 2


def test_what_failed_is_remembered_by_its_text(folder):
    versions = ConfigurationVersions(folder)
    versions.fail_trial(versions.take_in("bad"))
    again = ConfigurationVersions(folder)
    assert again.has_failed("bad")
    assert not again.has_failed("bad ")


def test_old_versions_go_but_never_the_good_one(folder):
    versions = ConfigurationVersions(folder)
    versions.take_in("text 1")
    versions.pass_trial(1)
    for number in range(2, KEPT_VERSIONS + 10):
        versions.take_in(f"text {number}")
    assert versions.good_text() == "text 1"
    assert versions.text(2) is None
    assert versions.text(KEPT_VERSIONS + 9) == f"text {KEPT_VERSIONS + 9}"


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"newest": "x"}'])
def test_a_damaged_state_is_no_state_and_no_number_means_two_texts(folder, damage):
    versions = ConfigurationVersions(folder)
    versions.take_in("one")
    versions.pass_trial(1)
    (folder / "state.json").write_text(damage)
    again = ConfigurationVersions(folder)
    assert again.good_text() is None
    assert again.take_in("another") == 2
    assert again.text(1) == "one"


def test_flows_are_written_when_they_change(folder):
    versions = ConfigurationVersions(folder)
    versions.note_flows({"uplink", "bus/a"})
    state = folder / "state.json"
    before = state.stat().st_mtime_ns
    versions.note_flows(["bus/a", "uplink"])
    assert state.stat().st_mtime_ns == before
    assert ConfigurationVersions(folder).state.flowed == ("bus/a", "uplink")
