"""The generated protocol-buffer code is what protoc makes of our `.proto` today."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PROTO = "contracts/sparkplug/sparkplug_b.proto"
GENERATED = ["contracts/sparkplug/sparkplug_b_pb2.py", "contracts/sparkplug/sparkplug_b_pb2.pyi"]


@pytest.fixture(scope="module")
def generated_today(tmp_path_factory):
    """A folder with what protoc makes of the `.proto`."""
    folder = tmp_path_factory.mktemp("protoc")
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", f"--python_out={folder}", f"--pyi_out={folder}", PROTO]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    return folder


@pytest.mark.parametrize("path", GENERATED)
def test_the_committed_code_is_what_protoc_makes_today(generated_today, path):
    assert (ROOT / path).read_text() == (generated_today / path).read_text(), f"{path} is old: run `make proto`"


def test_the_declared_protobuf_is_never_older_than_the_generated_code():
    code = (ROOT / GENERATED[0]).read_text()
    generator = tuple(int(part) for part in re.search(r"Protobuf Python Version: ([\d.]+)", code)[1].split("."))
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (declared,) = (each for each in requirements if each.startswith("protobuf"))
    lowest = tuple(int(part) for part in re.search(r">=([\d.]+)", declared)[1].split("."))
    assert lowest >= generator, (
        f"pyproject.toml allows {declared}, but the generated code refuses to be imported by anything older than "
        f"{'.'.join(map(str, generator))}: raise the requirement"
    )
