"""A field of all instruments, and the published frames."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from simulators.configuration import parse_configuration
from simulators.field import Field
from simulators.read_instruments import read_instruments

GOLDEN = Path(__file__).parents[2] / "golden" / "simulators"
START_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="session")
def golden():
    def read(name: str) -> dict[str, Any]:
        return json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))

    return read


@pytest.fixture
def start_ns() -> int:
    return START_NS


@pytest.fixture
def build_field():
    """`build_field(text)`: a field from the text of its configuration, started at START_NS."""

    def build(text: str) -> Field:
        instruments = read_instruments()
        return Field(parse_configuration(text, "field.toml", instruments), instruments, START_NS)

    return build
