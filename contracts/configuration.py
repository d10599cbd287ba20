"""Configuration text → frozen typed models, with all faults at once.

Each program reads its TOML file itself (I/O is the shell's) and passes the text here. Every fault is named
with its path, its value and what is allowed: `agent.toml: $.bus[3].baud_rate: 9601 is not one of …`.
"""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from contracts.errors import ConfigurationError, Fault
from contracts.identifiers import IDENTIFIER_PATTERN, IDENTIFIER_WORDS


class Settings(BaseModel):
    """Base of all configuration models: frozen; an unknown key is a fault, and so are NaN and infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


SettingsT = TypeVar("SettingsT")
"""A model of pydantic's, or a class of `plain_settings`."""


def parse_settings(model: type[SettingsT], text: str, source: str) -> SettingsT:
    """Parses a TOML document into `model`.

    Args:
        model: the typed shape of the document.
        text: the document.
        source: the file's name, for the faults.

    Raises:
        ConfigurationError: with every fault of the document (one only if it is not TOML at all).
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # tomllib recurses into nested arrays
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    return check_settings(model, document, source)


def check_settings(model: type[SettingsT], document: object, source: str) -> SettingsT:
    """Like `parse_settings`, for a document that is parsed already (a part of one, or JSON)."""
    try:
        checked: SettingsT = TypeAdapter(model).validate_python(document)
    except ValidationError as error:
        raise ConfigurationError(source, [_fault(details) for details in error.errors()]) from error
    return checked


def format_path(location: tuple[int | str, ...]) -> str:
    """`("bus", 3, "baud_rate")` as `$.bus[3].baud_rate`."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _fault(details: ErrorDetails) -> Fault:
    path = format_path(details["loc"])
    kind = details["type"]
    if kind in {"extra_forbidden", "unexpected_keyword_argument"}:
        return Fault(path, "unknown key")
    if kind == "missing":
        return Fault(path, "is missing")
    if kind == "string_pattern_mismatch" and details.get("ctx", {}).get("pattern") == IDENTIFIER_PATTERN:
        return Fault(path, f"{details['input']!r}: {IDENTIFIER_WORDS}")
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[:1].lower() + message[1:]
    if kind in {"value_error", "assertion_error"} and isinstance(details["input"], dict | list):
        return Fault(path, message)
    return Fault(path, f"{details['input']!r}: {message}")
