"""A gateway's installation: the wheel, with the extra `agent` and its locked requirements, outside of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 170
PLATFORM_ONLY = {"numpy", "pyarrow", "duckdb", "fastapi", "uvicorn", "httpx", "iotcore", "jinja2"}
OFFLINE = ("NewConnectionError", "Temporary failure in name resolution", "Network is unreachable")


def run(*command: object, cwd: Path) -> str:
    """Runs a program far from the checkout's environment; returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if any(sign in done.stderr for sign in OFFLINE):
        pytest.skip("the package index cannot be reached from here")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("citysense-*.whl")
    return built


@pytest.fixture(scope="module")
def gateway(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds what a gateway gets, and nothing else."""
    folder = tmp_path_factory.mktemp("gateway")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    pip = (folder / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--require-hashes", "--requirement", ROOT / "requirements/agent.txt", cwd=folder)
    # The requirements are there with their hashes; pip must find nothing more to fetch.
    run(*pip, "--no-index", f"{wheel}[agent]", cwd=folder)
    return folder


def test_the_wheel_holds_every_package_with_its_files_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("contracts", "edge_agent", "broker_config", "deploy", "simulators", "console")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - names == set()
    assert not any(name.startswith(("tests/", "docs/", "requirements/")) for name in names)


def test_a_gateway_gets_none_of_the_platforms_weight(gateway: Path) -> None:
    listed = json.loads(run(gateway / "venv/bin/python", "-m", "pip", "list", "--format", "json", cwd=gateway))
    installed = {row["name"].lower() for row in listed}
    assert "citysense" in installed
    assert installed & PLATFORM_ONLY == set()


def test_the_agent_runs_outside_of_the_checkout(gateway: Path) -> None:
    assert run(gateway / "venv/bin/edge-agent", "--version", cwd=gateway).strip() == "edge-agent 0.1.0"


def test_the_shipped_example_passes_check_config(gateway: Path) -> None:
    find = "from importlib import resources; print(resources.files('edge_agent') / 'example.toml')"
    example = Path(run(gateway / "venv/bin/python", "-c", find, cwd=gateway).strip())
    assert gateway in example.parents
    assert run(gateway / "venv/bin/edge-agent", "check-config", "--config", example, cwd=gateway) == f"{example}: ok\n"
