"""The parts of a text line, and the numbers among them.

Four layouts: `positional` (NMEA 0183 `282,R,0.1,M,A`), `key_value` (Vaisala `Dm=051D,Sm=0.1M`), `transducers` (NMEA
0183 XDR: groups of type, value, unit and id; the key is type and id together, `C0`), and `signed` (SDI-12: `+3.14-2`,
values that begin with their sign).

A number may carry a letter that says its unit; each letter has its own conversion. An unknown letter is a fault of
the line, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.quality import Reason
from edge_agent.frames.frame_field import FieldError, UnitConversion
from edge_agent.settings.reason_name import check_reason, reason_named

Layout = Literal["positional", "key_value", "transducers", "signed"]

_NUMBER: Final = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(.*)\Z")
_SIGNED: Final = re.compile(r"[+-][^+-]*")
_TRANSDUCER_PARTS: Final = 4
_PLAIN: Final = UnitConversion()


@dataclass(frozen=True, slots=True)
class LineParts:
    """A line, cut into parts."""

    listed: tuple[str, ...] = ()
    """By position."""
    keyed: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)
    """By key: the text, and the unit where it has a part of its own."""
    malformed: tuple[str, ...] = ()
    """Parts that do not fit the layout."""


def cut_line(text: str, layout: Layout, separator: str) -> LineParts:
    """The parts of a line's body."""
    if layout == "signed":
        values = _SIGNED.findall(text)
        left = text[: len(text) - sum(map(len, values))]
        return LineParts(tuple(values), malformed=(left,) if left else ())
    parts = text.split(separator) if text else []
    if layout == "positional":
        return LineParts(tuple(parts))
    return _cut_pairs(parts) if layout == "key_value" else _cut_transducers(parts)


def _cut_pairs(parts: list[str]) -> LineParts:
    keyed: dict[str, tuple[str, str | None]] = {}
    malformed = []
    for part in parts:
        key, equals, text = part.partition("=")
        if key and equals and key not in keyed:
            keyed[key] = (text, None)
        else:
            malformed.append(part)
    return LineParts(keyed=keyed, malformed=tuple(malformed))


def _cut_transducers(parts: list[str]) -> LineParts:
    keyed: dict[str, tuple[str, str | None]] = {}
    malformed = []
    for at in range(0, len(parts), _TRANSDUCER_PARTS):
        group = parts[at : at + _TRANSDUCER_PARTS]
        if len(group) < _TRANSDUCER_PARTS or group[0] + group[3] in keyed:
            malformed.append(",".join(group))
        else:
            keyed[group[0] + group[3]] = (group[1], group[2])
    return LineParts(keyed=keyed, malformed=tuple(malformed))


class PartPlace(Settings):
    """Where something stands in a line: at a position (from 0, after the start), or behind a key."""

    position: int | None = Field(default=None, ge=0)
    key: str | None = None

    @model_validator(mode="after")
    def _check_place(self) -> PartPlace:
        if (self.position is None) == (self.key is None):
            raise ValueError("a part of a line has either a position or a key")
        return self

    def find(self, parts: LineParts) -> tuple[str, str | None] | None:
        """The text, and its unit where that has a part of its own; None if the line has no such part."""
        if self.key is not None:
            return parts.keyed.get(self.key)
        assert self.position is not None
        return (parts.listed[self.position], None) if self.position < len(parts.listed) else None


class PartField(PartPlace):
    """A number in a line."""

    units: dict[str, UnitConversion] = Field(default_factory=dict)
    """By the letters that follow the number or stand in a part of their own; empty: the number stands alone."""
    unit_position: int | None = Field(default=None, ge=0)
    """The part that holds the unit, if it does not follow the number."""
    invalid_units: tuple[str, ...] = ()
    """Letters by which the device says that the number means nothing (Vaisala: `#`)."""

    empty: str = "device_fault"
    """The reason of a part that is there but empty."""

    @model_validator(mode="after")
    def _check_empty(self) -> PartField:
        check_reason(self.empty)
        return self

    def read(self, parts: LineParts) -> tuple[float | None, Reason] | None:
        """The value and its reason; None if the line has no such part. Raises FieldError if it is no number."""
        found = self.find(parts)
        if found is None:
            return None
        text, unit = found
        if self.unit_position is not None:
            unit = parts.listed[self.unit_position] if self.unit_position < len(parts.listed) else ""
        number = _NUMBER.match(text)
        if unit is None and number is not None:
            text, unit = number[1], number[2]
        if unit in self.invalid_units or text in self.invalid_units:
            return None, Reason.DEVICE_FAULT
        if not text:
            return None, reason_named(self.empty)
        if number is None or text != number[1]:
            raise FieldError(f"{text!r} is no number")
        return self._conversion(unit or "").convert(float(text)), Reason.OK

    def _conversion(self, unit: str) -> UnitConversion:
        if not self.units and not unit:
            return _PLAIN
        if unit not in self.units:
            raise FieldError(f"{unit!r} is not one of the units {', '.join(self.units) or 'that it may have: none'}")
        return self.units[unit]
