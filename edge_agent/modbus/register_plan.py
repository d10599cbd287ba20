"""Which requests to send for a set of fields: few, none too long, none over a place that the device refuses. Pure.

The cost of a plan is counted in registers: each request costs `request_cost` of them beside those that it reads (its
own bytes, the answer's head and the turn-round), so a hole between two fields is read along exactly where that is
cheaper than asking twice. Where a run of fields is longer than one request may be, the cheapest cut is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from edge_agent.modbus.register_field import BIT_FUNCTION_CODES, BITS_PER_REGISTER, Field
from edge_agent.modbus.register_limits import RegisterLimits, SpanIndex

SERIAL_REQUEST_COST = 12
"""Registers: 8 bytes asked, 5 around the answer, twice 3.5 silent characters and about 4 ms until a device answers, at
9600 baud, over 2 bytes per register."""
TCP_REQUEST_COST = 32
"""Registers: a round trip costs more than bytes do, yet what nobody asked for is not read without measure."""


@dataclass(frozen=True, slots=True)
class Read:
    """One request: `count` registers from `address` on, and the fields that its answer holds."""

    function_code: int
    address: int
    count: int
    fields: tuple[Field, ...]

    @property
    def end(self) -> int:
        """The address after the last register that is read."""
        return self.address + self.count


def plan_reads(
    fields: Sequence[Field], limits: RegisterLimits | None = None, request_cost: int = SERIAL_REQUEST_COST
) -> tuple[Read, ...]:
    """Covers all fields at the least cost.

    Args:
        fields: in any order; doubles and overlaps are read once. Fields that the limits call illegal are left out.
        limits: what the device is known to refuse.
        request_cost: of a request, in registers: also the widest hole that is read along.
    """
    known = RegisterLimits() if limits is None else limits
    ordered = sorted(set(fields), key=lambda one: (one.function_code, one.address, one.end))
    reads: list[Read] = []
    for function_code, group in groupby(ordered, key=lambda one: one.function_code):
        legal = [one for one in group if not known.refuses(function_code, one.address, one.end)]
        index = SpanIndex(known, function_code)
        cost = request_cost * (BITS_PER_REGISTER if function_code in BIT_FUNCTION_CODES else 1)
        for run in _runs(legal, cost):
            reads += _cut(run, index, cost)
    return tuple(reads)


def illegal_fields(fields: Sequence[Field], limits: RegisterLimits) -> list[Field]:
    """The fields that contain a refused span, and so are never asked for together with others."""
    return [one for one in fields if limits.refuses(one.function_code, one.address, one.end)]


def read_of(fields: Sequence[Field]) -> Read:
    """The one request for all of these fields, which have one function code."""
    first = min(field.address for field in fields)
    return Read(fields[0].function_code, first, max(field.end for field in fields) - first, tuple(fields))


def _runs(fields: Sequence[Field], widest_hole: int) -> Iterator[list[Field]]:
    """Fields with no hole between them that is dearer to bridge than to leave out."""
    run: list[Field] = []
    end = 0
    for field in fields:
        if run and field.address - end > widest_hole:
            yield run
            run = []
        end = max(end, field.end) if run else field.end
        run.append(field)
    if run:
        yield run


def _cut(run: Sequence[Field], index: SpanIndex, request_cost: int) -> list[Read]:
    """The cheapest requests for a run: shortest path over its fields, where each step is one request."""
    whole = read_of(run)
    if whole.end <= index.reach(whole.address):
        return [whole]
    best: list[tuple[int, int]] = [(0, 0)] + [(1 << 60, 0)] * len(run)
    """For the first n fields: cost, and where the last request begins."""
    for first, field in enumerate(run):
        reach, end = index.reach(field.address), 0
        for last in range(first, len(run)):
            end = max(end, run[last].end)
            if end > reach and last > first:
                break
            cost = best[first][0] + request_cost + end - field.address
            best[last + 1] = min(best[last + 1], (cost, first))
    reads: list[Read] = []
    stop = len(run)
    while stop:
        start = best[stop][1]
        reads.append(read_of(run[start:stop]))
        stop = start
    return reads[::-1]
