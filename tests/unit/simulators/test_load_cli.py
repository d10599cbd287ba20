"""The words `load` and `load-check`: every option says what it is, and stands in the guide; refusals are one line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from simulators.load_cli import _primary_host, add_load_words
from simulators.load_fleet import LoadOptions, LoadPlan

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "docs/guide-load-test.md"


def options(word):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers()
    add_load_words(commands)
    return [action for action in commands.choices[word]._actions if "--help" not in action.option_strings]


@pytest.mark.parametrize("word", ["load", "load-check"])
def test_every_option_is_in_the_help_and_in_the_guide(word):
    guide = GUIDE.read_text(encoding="utf-8")
    for action in options(word):
        assert action.help, f"{word} {action.option_strings} has no help"
        assert action.option_strings[0] in guide, f"{GUIDE.name} does not name {action.option_strings[0]}"


def run(*arguments):
    command = [sys.executable, "-m", "simulators.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--broker", "nowhere"], "'nowhere' is no HOST:PORT"),
        (["--username", "all"], "--username needs --password-file"),
        (["--primary-host", "load-9=bridge"], "of a district of this fleet"),
        (["--primary-host", "load-1="], "of a district of this fleet"),
        (["--rate", "1e9"], "readings/s are the most"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, what):
    ended = run("load", "--gateways", 1, "--rate", 10, *arguments)
    assert ended.returncode == 1
    assert what in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_each_district_may_have_a_host_of_its_own():
    plan = LoadPlan(LoadOptions(gateways=4, rate_per_s=9.0))
    host = _primary_host(["citysense", "load-2=second"], plan)
    assert (host("load-1"), host("load-2")) == ("citysense", "second")
    assert _primary_host([], plan)("load-1") is None


def test_without_the_platforms_modules_the_field_still_runs_and_load_says_what_to_install():
    code = (
        "import sys\n"
        "for name in ('numpy', 'duckdb', 'aiokafka', 'pyarrow'): sys.modules[name] = None\n"
        "from simulators.cli import main\n"
        "sys.argv = ['city-simulator', *sys.argv[1:]]\n"
        "main()\n"
    )
    version = [sys.executable, "-c", code, "--version"]
    assert subprocess.run(version, cwd=ROOT, check=False, capture_output=True, timeout=60).returncode == 0
    load = [sys.executable, "-c", code, "load", "--gateways", "1", "--rate", "10"]
    ended = subprocess.run(load, cwd=ROOT, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "numpy is not installed: pip install 'citysense[platform]'" in ended.stderr


def test_files_are_written_without_any_broker_and_passwords_are_kept_and_private(tmp_path):
    arguments = ["load", "--gateways", 2, "--rate", 10, "--nodes-per-gateway", 4, "--write-only"]
    arguments += ["--fleet-out", tmp_path / "fleet.toml", "--broker-out", tmp_path / "broker"]
    assert run(*arguments).returncode == 0
    password = tmp_path / "broker/passwords/load-0002"
    assert password.stat().st_mode & 0o777 == 0o600
    first = password.read_text()
    assert len(first) > 40
    assert run(*arguments).returncode == 0
    assert password.read_text() == first
    assert "[[node.channel.condition]]" in (tmp_path / "fleet.toml").read_text()
