"""What an answer of InfluxDB's `/api/v2/write` means for the body that was sent. Pure.

| answer                                   | meaning                                                         |
|------------------------------------------|-----------------------------------------------------------------|
| 2xx                                      | every line is stored                                            |
| none, 408, 429, 5xx, 3xx                 | wait: the server is away or busy                                |
| 401, 403, 404                            | wait: token, right, organisation or bucket; a person mends it   |
| 400 whose words are of the database name | wait: `bucket` is configured wrongly; no line is at fault      |
| 400 (1.8, 3), 422 (2.x), 413, other 4xx  | lines are refused, or the body is too large; the rest may stand |

A refusal names one of its lines at most, and its `dropped=N` may count too few (2.7.12 says 1 of a point beyond the
retention and one of another type). So the bad lines are found by halving: writing a line again changes nothing. Only
where N is the whole body is nothing left to look for. InfluxDB 3 stores nothing of a body with a bad line and does not
say which it was or why; its own `/api/v3/write_lp` lists refused lines in `data`, at most 100 of them.
Seen on 1.8.10, 2.7.12 and 3.6.0.
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
_ABOUT_THE_NAME: Final = re.compile(
    r"(bucket name|db name|namespace name|missing bucket value|invalid character in database name)\b"
)
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
    message, listed = _read(answer)
    reason = f"{status} {message}" if status else message
    if status < HTTPStatus.BAD_REQUEST or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _BUSY | _TO_BE_MENDED:
        return Wait(reason)
    if _ABOUT_THE_NAME.match(message):
        return Wait(reason)
    dropped = max((int(count) for count in _DROPPED.findall(answer)), default=listed)
    return Refused(reason, is_every_line=line_count == 1 or dropped >= line_count)


def _read(answer: str) -> tuple[str, int]:
    """The sentence in a JSON answer (2.x: `message`; 1.8 and 3: `error`) or the answer as it is; lines listed in it."""
    try:
        document = json.loads(answer)
    except ValueError:
        document = None
    listed: list[str] = []
    if isinstance(document, dict):
        listed = _listed_faults(document.get("data"))
        answer = ": ".join([str(document.get("message") or document.get("error") or answer), *listed[:1]])
    return answer[:_MESSAGE_LENGTH_MAX], len(listed)


def _listed_faults(data: object) -> list[str]:
    """What InfluxDB 3 says of each line that it refuses."""
    rows = data if isinstance(data, list) else []
    return [str(row["error_message"]) for row in rows if isinstance(row, dict) and row.get("error_message")]
