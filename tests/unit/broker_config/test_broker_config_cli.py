"""`broker-config` as an operator uses it."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

DESCRIPTION = """
[listener]
port = 21883
[persistence]
directory = "kept"
[[host]]
password_file = "citysense.password"
[[gateway]]
gateway_id = "gw-1"
district_id = "harbour"
password_file = "gw-1.password"
"""


def broker_config(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker_config.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def description(tmp_path: Path) -> Path:
    path = tmp_path / "broker.toml"
    path.write_text(DESCRIPTION)
    (tmp_path / "citysense.password").write_text("host-secret\n")
    (tmp_path / "gw-1.password").write_text("gateway-secret\n")
    return path


def test_a_good_description_is_ok(description: Path) -> None:
    run = broker_config("check-config", "--config", description)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{description}: ok\n", "")


def test_every_fault_stands_on_its_own_line_with_exit_code_2(description: Path) -> None:
    description.write_text(DESCRIPTION.replace("21883", "0").replace("gw-1", "GW 1"))
    run = broker_config("check-config", "--config", description)
    assert run.returncode == 2
    assert run.stdout == ""
    lines = run.stderr.splitlines()
    assert any(line.startswith(f"{description}: $.listener.port: 0: ") for line in lines)
    assert any(line.startswith(f"{description}: $.gateway[0].gateway_id: 'GW 1': ") for line in lines)


def test_all_unusable_password_files_are_named(description: Path) -> None:
    (description.parent / "citysense.password").write_text("\n")
    (description.parent / "gw-1.password").unlink()
    run = broker_config("render", "--kind", "mosquitto", "--config", description, "--out", description.parent / "out")
    assert run.returncode == 2
    assert "$.host[0].password_file: 'citysense.password': the file is empty" in run.stderr
    assert "$.gateway[0].password_file: 'gw-1.password': [Errno 2]" in run.stderr
    assert not (description.parent / "out").exists()


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("mosquitto", {"mosquitto.conf", "mosquitto.acl", "mosquitto.passwd"}),
        ("rumqttd", {"rumqttd.toml"}),
        ("kafka", {"create-kafka-topics.sh"}),
    ],
)
def test_rendered_files_are_for_their_owner_only(description: Path, kind: str, names: set[str]) -> None:
    out = description.parent / "out"
    run = broker_config("render", "--kind", kind, "--config", description, "--out", out)
    assert (run.returncode, run.stderr) == (0, "")
    assert {path.name for path in out.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}


def test_mosquitto_never_sees_a_password_in_clear(description: Path) -> None:
    out = description.parent / "out"
    broker_config("render", "--kind", "mosquitto", "--config", description, "--out", out)
    written = "".join(path.read_text() for path in out.iterdir())
    assert "secret" not in written
    assert f"persistence_location {description.parent}/kept/" in written
