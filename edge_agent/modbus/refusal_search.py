"""Why a device refuses a request of which parts are legal: bisection, as a generator that asks. Pure.

`search_refusal` yields the reads that it wants to try and is sent what came of each; what it finds out it notes in
the `RegisterLimits`. The steps, for a read that was refused with exception 2 or 3:

1. Once more: a passing refusal teaches nothing.
2. In halves, each half of a half again, down to a single place: that one is illegal.
3. Where two neighbouring halves are answered and the whole is not, the seam between them is tried: if it is refused,
   something between them is illegal (a hole, or a border that no request may cross).
4. If the seam is answered too, the read was too long: the longest length that is answered is found by bisection.

Every place that is legal is answered on the way, so no legal value is lost even while learning.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from enum import Enum, auto
from itertools import groupby
from typing import Final

from edge_agent.modbus.register_field import Field
from edge_agent.modbus.register_limits import RegisterLimits
from edge_agent.modbus.register_plan import Read, plan_reads, read_of


class Verdict(Enum):
    """What came of a read."""

    ANSWERED = auto()
    REFUSED = auto()
    """Exception 2 or 3."""
    FAILED = auto()
    """Silence, a corrupt frame, another exception: says nothing about what is legal."""


PAIRS_OF_A_LENGTH: Final = 3
"""So many pairs of neighbours refused, all of one length, are no accident of borders."""

Search = Generator[Read, Verdict, bool]
"""Yields reads to try. Returns False if it had to be given up because one failed."""

_Place = list[Field]
"""Fields with the same registers: bits of one word are one place."""


def search_refusal(read: Read, limits: RegisterLimits) -> Search:
    """Narrows down a read that was refused once."""
    again = yield read
    if again is Verdict.REFUSED:
        return (yield from _split(read, limits))
    return again is Verdict.ANSWERED


def _split(read: Read, limits: RegisterLimits) -> Search:
    """A read that is refused for good."""
    places = _places(read.fields)
    middle = len(places) // 2
    if middle == 0:
        limits.note_refused(read.function_code, read.address, read.end)
        return True
    halves = (places[:middle], places[middle:])
    all_answered = True
    for half in halves:
        for part in plan_reads(_fields(half), limits, request_cost=read.count):
            verdict = yield part
            if verdict is Verdict.FAILED:
                return False
            if verdict is Verdict.REFUSED:
                all_answered = False
                if not (yield from _split(part, limits)):
                    return False
    return (yield from _try_seam(read, halves[0][-1], halves[1][0], all_answered, limits))


def _try_seam(read: Read, before: _Place, behind: _Place, all_answered: bool, limits: RegisterLimits) -> Search:
    """After both halves: what stands between them may be what is refused."""
    has_hole = behind[0].address > max(field.end for field in before)
    seam = read_of([*before, *behind])
    if _is_explained(read, limits) and not (has_hole and not _is_explained(seam, limits)):
        return True
    if (seam.address, seam.count) == (read.address, read.count):
        if all_answered:
            _note_pair(read, has_hole, limits)
        return True
    verdict = yield seam
    if verdict is Verdict.REFUSED:
        limits.note_refused(seam.function_code, seam.address, seam.end)
    elif verdict is Verdict.ANSWERED and all_answered:
        return (yield from _find_longest(read, limits))
    return verdict is not Verdict.FAILED


def _note_pair(read: Read, has_hole: bool, limits: RegisterLimits) -> None:
    """Two places that are answered singly and refused together: a border, or the device answers no longer request.

    It is the length where this happens again and again, and nothing so long was ever answered.
    """
    code = read.function_code
    limits.note_refused(code, read.address, read.end)
    alike = {span for span in limits.refused[code] if span[1] - span[0] == read.count}
    answered = limits.answered_count.get(code, 0)
    if not has_hole and len(alike) >= PAIRS_OF_A_LENGTH and 0 < answered < read.count:
        limits.refused[code] -= alike
        limits.note_longest(code, answered)


def _find_longest(read: Read, limits: RegisterLimits) -> Search:
    """All of the read is legal, only its length is not: the longest beginning of it that is answered."""
    known = limits.answered_count.get(read.function_code, 0)
    ends = sorted({field.end for field in read.fields})
    lengths = [end - read.address for end in ends if known < end - read.address < read.count]
    if known >= read.count:  # not for its length: the device refuses this combination
        limits.note_refused(read.function_code, read.address, read.end)
        return True
    longest = known
    while lengths:
        length = lengths[len(lengths) // 2]
        verdict = yield read_of([field for field in read.fields if field.end - read.address <= length])
        if verdict is Verdict.FAILED:
            return False
        if verdict is Verdict.ANSWERED:
            longest = length
        lengths = [one for one in lengths if (one > length if verdict is Verdict.ANSWERED else one < length)]
    limits.note_longest(read.function_code, longest)
    return True


def _is_explained(read: Read, limits: RegisterLimits) -> bool:
    code = read.function_code
    return read.count > limits.longest(code) or limits.refuses(code, read.address, read.end)


def _places(fields: Sequence[Field]) -> list[_Place]:
    ordered = sorted(fields, key=_place_of)
    return [list(group) for _, group in groupby(ordered, key=_place_of)]


def _place_of(field: Field) -> tuple[int, int]:
    return field.address, field.end


def _fields(places: Sequence[_Place]) -> list[Field]:
    return [field for place in places for field in place]
