"""What an answer of InfluxDB's `/api/v2/write` means for the body that was sent. Pure.

| answer                                   | meaning                                                         |
|------------------------------------------|-----------------------------------------------------------------|
| 2xx                                      | every line is stored                                            |
| none, 408, 429, 5xx, 3xx                 | wait: the server is away or busy                                |
| 401, 403, 404                            | wait: token, right, organisation or bucket; a person mends it   |
| 400 (1.8, 3), 422 (2.x), 413, other 4xx  | lines are refused, or the body is too large; the rest may stand |

A refusal names one of its lines at most, and its `dropped=N` may count too few (2.7.12 says 1 of a point beyond the
retention and one of another type). So the bad lines are found by halving: writing a line again changes nothing. Only
where N is the whole body is nothing left to look for. Seen on InfluxDB 2.7.12.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

_BUSY: Final = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}
_TO_BE_MENDED: Final = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}
_DROPPED: Final = re.compile(r"\bdropped=(\d+)")
_MESSAGE_LENGTH_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Stored:
    """Every line is stored."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is known to be stored; the same body may be taken later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """At least one line will never be taken; the others may be stored or not."""

    reason: str
    is_every_line: bool


Verdict = Stored | Wait | Refused


def judge(status: int, answer: str, line_count: int) -> Verdict:
    """What the server's answer means for a body of `line_count` lines; `status` 0 if there was no answer."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Stored()
    reason = f"{status} {_message(answer)}" if status else _message(answer)
    if status < HTTPStatus.BAD_REQUEST or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY | _TO_BE_MENDED:
        return Wait(reason)
    dropped = max((int(count) for count in _DROPPED.findall(answer)), default=0)
    return Refused(reason, is_every_line=line_count == 1 or dropped >= line_count)


def _message(answer: str) -> str:
    """The sentence in a JSON answer (2.x and 3: `message`, 1.8: `error`), or the answer as it is."""
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    if isinstance(document, dict):
        answer = str(document.get("message") or document.get("error") or answer)
    return answer[:_MESSAGE_LENGTH_MAX]
