"""Which server is taken: an installed one before the cache's, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.stack import find_servers as subject
from deploy.stack.build_influxdb import influxdb_entry
from deploy.stack.fetch_kafka import kafka_entry
from deploy.stack.server_cache import entry, making


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with an empty PATH and an empty cache."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CITYSENSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KAFKA_HOME", raising=False)
    return tmp_path


def install(machine: Path, name: str, says: str = "") -> Path:
    program = machine / "bin" / name
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    return program


def refuse(text: str) -> None:
    raise AssertionError(f"nothing may be fetched or built here: {text}")


def test_an_installed_influxdb_2_is_used_instead_of_a_build(machine):
    program = install(machine, "influxd", "InfluxDB v2.7.6 (git: abc) build_date: x")
    assert subject.find_servers(["influxdb"], refuse).influxd == str(program)


def test_an_installed_influxdb_1_is_not_started_by_us(machine):
    install(machine, "influxd", "InfluxDB v1.8.10 (git: 1.8 abc)")
    reason = subject.why_not("influxdb", may_make=False)
    assert reason is not None
    assert reason.startswith("influxdb: not in the cache")


def fill_half(folder: Path | None) -> None:
    assert folder is not None
    (folder / "half").touch()
    raise RuntimeError("power cut")


def test_the_cache_is_used_without_the_tools_that_filled_it(machine):
    java = install(machine, "java")
    kafka_entry().mkdir(parents=True)
    influxdb_entry().mkdir(parents=True)
    found = subject.find_servers(["kafka", "influxdb"], refuse)
    assert (found.java, found.kafka_jars) == (str(java), str(kafka_entry()))
    assert found.influxd == str(influxdb_entry() / "influxd")


def test_an_installed_kafka_4_is_used_and_an_older_one_is_not(machine, monkeypatch):
    install(machine, "java")
    libs = machine / "kafka/libs"
    libs.mkdir(parents=True)
    monkeypatch.setenv("KAFKA_HOME", str(libs.parent))
    (libs / "kafka_2.13-3.9.0.jar").touch()
    assert subject.why_not("kafka", may_make=False) is not None
    (libs / "kafka_2.13-4.0.0.jar").touch()
    assert subject.find_servers(["kafka"], refuse, may_make=False).kafka_jars == str(libs)


def test_an_entry_appears_whole_or_not_at_all_and_is_made_once(machine):
    recipe = machine / "recipe"
    recipe.write_text("one")
    folder = entry("thing", "1.0", [recipe])
    with pytest.raises(RuntimeError, match="power cut"), making(folder) as unfinished:
        fill_half(unfinished)
    assert not folder.exists()
    with making(folder) as unfinished:
        assert unfinished is not None
        assert not (unfinished / "half").exists()
        (unfinished / "whole").touch()
    assert (folder / "whole").exists()
    with making(folder) as unfinished:
        assert unfinished is None


def test_a_changed_recipe_makes_another_entry(machine):
    recipe = machine / "recipe"
    recipe.write_text("one")
    before = entry("thing", "1.0", [recipe])
    recipe.write_text("two")
    assert entry("thing", "1.0", [recipe]) != before
