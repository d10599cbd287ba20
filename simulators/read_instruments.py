"""Reads the instruments that come with the package. A shell: files only."""

from __future__ import annotations

from functools import cache
from importlib import resources
from types import MappingProxyType

from simulators.instrument import InstrumentLibrary, parse_instrument


@cache
def read_instruments() -> InstrumentLibrary:
    """All instruments by name (the name of the file)."""
    folder = resources.files("simulators") / "instruments"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return MappingProxyType(
        {file.name.removesuffix(".toml"): parse_instrument(file.read_text("utf-8"), file.name) for file in files}
    )
