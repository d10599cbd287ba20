"""A rule that somebody wants to try: one line of words, or the registry's condition definitions as JSON. Pure.

    [INPUT of] WHAT above|below NUMBER [deadband NUMBER] [on DURATION] [off DURATION]

    methane_lel above 25 deadband 2 on 10s off 30s
    score_ewma_z of strain above 0.667
    "Flow rate" below 3.5 on 5min                         a column of one's own file, quoted if it has spaces

WHAT is a quantity of the archive or a column of the file: the rule then stands for every such channel. INPUT is one of
`ConditionInput`, value if it is left out. A duration is a number of seconds, or of s, min, h.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from contracts.alarm import Colour, ConditionDefinition, ConditionInput
from contracts.condition import Direction
from stream_processor.errors import TrialError

_UNITS_S: Final = {"s": 1.0, "min": 60.0, "h": 3_600.0}
_FORM: Final = "[INPUT of] WHAT above|below NUMBER [deadband NUMBER] [on DURATION] [off DURATION]"
_WORDS: Final = {"deadband": "deadband", "on": "on_delay_s", "off": "off_delay_s"}
_TITLE_MAX: Final = 200
_DEFINITIONS: Final = TypeAdapter(list[ConditionDefinition])


_WordT = TypeVar("_WordT", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold for all channels of a kind."""

    text: str
    what: str
    """Quantity, or column."""
    input: ConditionInput
    direction: Direction
    set_point: float
    deadband: float = 0.0
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0

    def define(self, number: int, channel_id: int) -> ConditionDefinition:
        """The condition of one channel. Raises TrialError if no registry would take it."""
        try:
            return ConditionDefinition(
                condition_id=f"rule-{number}.{channel_id}",
                channel_id=channel_id,
                input=self.input,
                direction=self.direction,
                set_point=self.set_point,
                deadband=self.deadband,
                on_delay_s=self.on_delay_s,
                off_delay_s=self.off_delay_s,
                priority=4,
                colour=Colour.BLUE,
                title=self.text[:_TITLE_MAX],
            )
        except ValidationError as error:
            raise TrialError(f"rule {self.text!r}: {_faults(error)}") from error


def parse_rule(text: str) -> Rule:
    """Raises TrialError, which says what is expected."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TrialError(f"rule {text!r}: {error}") from error
    source = ConditionInput.VALUE
    if len(words) > 1 and words[1] == "of":
        source, words = _one_of(text, words[0], ConditionInput), words[2:]
    if len(words) < 3 or len(words) % 2 == 0:
        raise TrialError(
            f"rule {text!r} is not: [INPUT of] WHAT above|below NUMBER [deadband N] [on DURATION] [off DURATION]"
        )
    what, direction, set_point, *rest = words
    named: dict[str, float] = {}
    for word, value in zip(rest[::2], rest[1::2], strict=True):
        if word not in _WORDS or _WORDS[word] in named:
            raise TrialError(f"rule {text!r}: {word!r} is not one of {', '.join(_WORDS)}, or stands twice")
        named[_WORDS[word]] = _number(text, value) if word == "deadband" else _duration_s(text, value)
    return Rule(text, what, source, _one_of(text, direction, Direction), _number(text, set_point), **named)


def parse_definitions(source: str, text: str) -> list[ConditionDefinition]:
    """The definitions of a JSON list, or of an object with `conditions`. Raises TrialError."""
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise TrialError(f"{source}: no JSON: {error}") from error
    rows = document.get("conditions") if isinstance(document, dict) else document
    try:
        return _DEFINITIONS.validate_python(rows)
    except ValidationError as error:
        raise TrialError(f"{source}: {_faults(error)}") from error


def define_all(rules: Iterable[Rule], what_of_channel: Iterable[tuple[int, str]]) -> Iterator[ConditionDefinition]:
    """The rules for every channel of their kind: (channel_id, quantity or column)."""
    channels = list(what_of_channel)
    for number, rule in enumerate(rules, 1):
        yield from (rule.define(number, channel_id) for channel_id, what in channels if what == rule.what)


def _one_of(text: str, word: str, kind: type[_WordT]) -> _WordT:
    try:
        return kind(word)
    except ValueError:
        raise TrialError(f"rule {text!r}: {word!r} is not one of {', '.join(kind)}") from None


def _number(text: str, word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise TrialError(f"rule {text!r}: {word!r} is no number") from None


def _duration_s(text: str, word: str) -> float:
    digits = word.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = word[len(digits) :] or "s"
    if unit not in _UNITS_S:
        raise TrialError(f"rule {text!r}: {word!r} is no duration: a number of {', '.join(_UNITS_S)}")
    return _number(text, digits) * _UNITS_S[unit]


def _faults(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or '$'}: {each['msg']}" for each in error.errors())
