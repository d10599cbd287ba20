"""Writes TOML: what the standard library reads but does not write. Pure.

Strings, whole numbers, floats, booleans, lists of those, tables, and arrays of tables; scalars of a table come
before its tables, as TOML wants it. No dates.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence

Toml = str | int | float | bool | Sequence["Toml"] | Mapping[str, "Toml"]

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def format_toml(document: Mapping[str, Toml], comment: str = "") -> str:
    """A document as text, with a comment at its head."""
    head = [f"# {line}".rstrip() for line in comment.splitlines()]
    return "\n".join([*head, *_lines(document, ())]).strip() + "\n"


def _lines(table: Mapping[str, Toml], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in table.items():
        if not _is_table(value) and not _is_array_of_tables(value):
            yield f"{_key(key)} = {_scalar(value)}"
    for key, value in table.items():
        inner = (*path, key)
        name = ".".join(map(_key, inner))
        if isinstance(value, Mapping):
            yield from ("", f"[{name}]")
            yield from _lines(value, inner)
        elif _is_array_of_tables(value):
            for row in value:  # type: ignore[union-attr]  # _is_array_of_tables says so
                yield from ("", f"[[{name}]]")
                yield from _lines(row, inner)  # type: ignore[arg-type]


def _is_table(value: Toml) -> bool:
    return isinstance(value, Mapping)


def _is_array_of_tables(value: Toml) -> bool:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return False
    return bool(value) and all(isinstance(row, Mapping) for row in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _text(key)


def _scalar(value: Toml) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_scalar, value))}]"
    raise TypeError(f"a table stands within a list of other things: {value!r}")


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
