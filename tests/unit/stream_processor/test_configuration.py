"""The configuration: the shipped example is right, and every fault is named at once."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

EXAMPLE = Path(str(resources.files("stream_processor") / "example.toml"))


def check(path):
    command = [sys.executable, "-m", "stream_processor.cli", "check-config", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_the_shipped_example_is_right():
    assert check(EXAMPLE) == (0, f"{EXAMPLE}: ok\n", "")


def test_every_fault_is_named_at_once_with_its_place_and_value(tmp_path):
    bad = EXAMPLE.read_text()
    for right, wrong in (
        ('host_id = "citysense"', 'host_id = "City Sense"'),
        ("port = 1883", "port = 70000"),
        ("commit_rows = 50000", "commit_rows = 0"),
        ('role = "engineer"', 'role = "boss"'),
        ("[store]", "[store]\ncolour = 1"),
    ):
        assert right in bad
        bad = bad.replace(right, wrong)
    path = tmp_path / "bad.toml"
    path.write_text(bad)
    code, said, faults = check(path)
    assert (code, said) == (2, "")
    for words in (
        "$.mqtt.host_id: 'City Sense': an identifier has 1 to 64 lower-case letters",
        "$.mqtt.port: 70000: input should be less than or equal to 65535",
        "$.store.commit_rows: 0: input should be greater than or equal to 1",
        "$.store.colour: unknown key",
        "$.principal[0].role: 'boss': input should be 'viewer', 'operator', 'engineer' or 'processor'",
    ):
        assert f"{path}: {words}" in faults
    assert len(faults.splitlines()) == 5


def test_a_file_that_is_not_there_is_one_clear_fault(tmp_path):
    code, _, faults = check(tmp_path / "none.toml")
    assert code == 2
    assert "none.toml: $: cannot be read" in faults
