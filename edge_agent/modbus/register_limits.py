"""What a device answers and what it refuses, as learnt: the longest request, and the spans that it never answers.

A refused span [first, end) is as short as could be found. Every request that contains the whole of one is refused:
an illegal register is the span of that register alone, an illegal hole or a border that no request may cross is the
span from the last legal place before it to the first one behind. So one rule covers all of them, and a field is
illegal itself exactly if it contains a refused span.

Learnt limits are kept per device model (`LimitMemory`), so that the second device of a model need not learn again;
each device starts from its model's limits and has its own from then on (firmware differs). Pure; the file that keeps
them over a restart is `store_limits.py`'s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from edge_agent.modbus.register_field import count_limit

Span = tuple[int, int]
"""First address, and the one after the last."""
SPACE_END: Final = 0x10000
"""The address after the last that Modbus has."""


@dataclass(slots=True)
class RegisterLimits:
    """Limits of a device or of a model, by function code."""

    max_count: dict[int, int] = field(default_factory=dict)
    """The longest request that is answered, where the standard's limit is not."""
    answered_count: dict[int, int] = field(default_factory=dict)
    """The longest request that was ever answered: a shorter one is not refused for its length."""
    refused: dict[int, set[Span]] = field(default_factory=dict)

    def copy(self) -> RegisterLimits:
        """Limits that change independently."""
        spans = {code: set(found) for code, found in self.refused.items()}
        return RegisterLimits(dict(self.max_count), dict(self.answered_count), spans)

    def longest(self, function_code: int) -> int:
        """The most that may be asked for at once."""
        return self.max_count.get(function_code, count_limit(function_code))

    def note_answered(self, function_code: int, count: int) -> None:
        """A request of this length was answered."""
        if count > self.answered_count.get(function_code, 0):
            self.answered_count[function_code] = count

    def note_longest(self, function_code: int, count: int) -> None:
        """Longer requests are refused for their length."""
        self.max_count[function_code] = count

    def note_refused(self, function_code: int, first: int, end: int) -> None:
        """No request that contains this span is answered. Spans that contain it say nothing more, and go."""
        spans = self.refused.setdefault(function_code, set())
        spans -= {span for span in spans if span[0] <= first and end <= span[1]}
        spans.add((first, end))

    def forgive(self, function_code: int, first: int, end: int) -> None:
        """A request for [first, end) was answered: no span within it is refused any more."""
        spans = self.refused.get(function_code, set())
        spans -= {span for span in spans if first <= span[0] and span[1] <= end}

    def refuses(self, function_code: int, first: int, end: int) -> bool:
        """Whether a request for [first, end) contains a refused span."""
        return any(first <= low and high <= end for low, high in self.refused.get(function_code, ()))


class SpanIndex:
    """How far a request that begins at an address may reach, for many questions about the same limits."""

    def __init__(self, limits: RegisterLimits, function_code: int) -> None:
        spans = sorted(limits.refused.get(function_code, ()))
        self._longest = limits.longest(function_code)
        self._firsts = [first for first, _ in spans]
        self._nearest_end = [SPACE_END + 1] * (len(spans) + 1)
        for at in range(len(spans) - 1, -1, -1):
            self._nearest_end[at] = min(spans[at][1], self._nearest_end[at + 1])

    def reach(self, first: int) -> int:
        """The greatest end of a request from `first` on that is not too long and contains no refused span."""
        nearest_end = self._nearest_end[bisect_left(self._firsts, first)]
        return min(first + self._longest, nearest_end - 1)


class LimitMemory:
    """Limits by device model, shared by all devices of this gateway."""

    def __init__(self, models: Mapping[str, RegisterLimits] | None = None) -> None:
        self._models: dict[str, RegisterLimits] = dict(models or {})
        self.revision = 0
        """Counts changes: what was written with this number need not be written again."""

    def limits_of(self, model: str) -> RegisterLimits:
        """What is known of a model; a copy."""
        known = self._models.get(model)
        return RegisterLimits() if known is None else known.copy()

    def learn(self, model: str, before: RegisterLimits, after: RegisterLimits) -> None:
        """Takes over what one device of the model has learnt between two states of its own limits."""
        if before == after:
            return
        known = self._models.setdefault(model, RegisterLimits())
        self.revision += 1
        known.max_count |= dict(after.max_count.items() - before.max_count.items())
        for function_code, count in after.answered_count.items():
            known.note_answered(function_code, count)
        for function_code in before.refused.keys() | after.refused.keys():
            was, now = before.refused.get(function_code, set()), after.refused.get(function_code, set())
            spans = known.refused.setdefault(function_code, set())
            spans -= was - now
            spans |= now - was

    def as_document(self) -> dict[str, Any]:
        """For a file: models → function codes → longest request and refused spans."""
        return {"version": 1, "models": {model: dict(_rows(self._models[model])) for model in sorted(self._models)}}


def parse_memory(document: object) -> LimitMemory:
    """The memory that `as_document` described. Raises ValueError with the place that is wrong."""
    if not isinstance(document, dict) or document.get("version") != 1 or not isinstance(document.get("models"), dict):
        raise ValueError("$: no register limits of version 1")
    models = {}
    for model, rows in document["models"].items():
        models[model] = _parse_limits(f"$.models.{model}", rows)
    return LimitMemory(models)


def _rows(limits: RegisterLimits) -> Iterator[tuple[str, dict[str, Any]]]:
    for code in sorted(limits.max_count.keys() | limits.answered_count.keys() | limits.refused.keys()):
        row: dict[str, Any] = {"answered": limits.answered_count.get(code, 0)}
        if code in limits.max_count:
            row["longest"] = limits.max_count[code]
        row["refused"] = [list(span) for span in sorted(limits.refused.get(code, ()))]
        yield str(code), row


def _parse_limits(path: str, rows: object) -> RegisterLimits:
    limits = RegisterLimits()
    if not isinstance(rows, dict):
        raise ValueError(f"{path}: {rows!r} is not a table of function codes")  # noqa: TRY004  # a fault of a file
    for code, row in rows.items():
        _parse_row(limits, f"{path}.{code}", code, row)
    return limits


def _parse_row(limits: RegisterLimits, path: str, code: str, row: object) -> None:
    if code not in {"1", "2", "3", "4"} or not isinstance(row, dict):
        raise ValueError(f"{path}: {row!r} is not the row of a function code that reads")
    function_code, top = int(code), count_limit(int(code))
    for name, kept in (("answered", limits.answered_count), ("longest", limits.max_count)):
        count = row.get(name)
        if count is None:
            continue
        if not isinstance(count, int) or not 0 <= count <= top or (name == "longest" and count == 0):
            raise ValueError(f"{path}.{name}: {count!r} is not a count up to {top}")
        kept[function_code] = count
    for span in row.get("refused", []):
        if not _is_span(span):
            raise ValueError(f"{path}.refused: {span!r} is not [first, end) within 0…{SPACE_END}")
        limits.note_refused(function_code, span[0], span[1])


def _is_span(span: object) -> bool:
    return (
        isinstance(span, list)
        and len(span) == 2
        and all(isinstance(one, int) for one in span)
        and 0 <= span[0] < span[1] <= SPACE_END
    )
