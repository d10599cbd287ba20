"""The InfluxDB sink (shell): writes bodies through influxdb-client and tells which lines were refused.

`write` returns only when each line of a body is stored or refused: whoever calls it waits, so memory stays bounded and
Kafka holds the rest. Several may be under way at a time. What waiting helps is tried again with exponential back-off
and jitter, for as long as it takes; what it does not help is handed back for quarantine. Works with `/api/v2/write` of
InfluxDB 1.8 (`org` "-", `bucket` "database/policy", token "user:password"), 2.x and 3 (`org` "-", `bucket` the name of
the database).
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from pydantic import Field
from urllib3.exceptions import HTTPError

from contracts.configuration import Settings
from contracts.influx_schema import COMPLETENESS_BUCKET, READINGS
from stream_processor.influx_answer import Refused, Verdict, Wait, judge
from stream_processor.line_protocol import Body, halves

_log = logging.getLogger("stream_processor.influx_sink")


class InfluxSettings(Settings):
    """Where InfluxDB is and how long to wait for it."""

    url: str = Field(pattern=r"^https?://")
    org: str = Field(min_length=1)
    bucket: str = Field(default=READINGS.name, min_length=1)
    completeness_bucket: str = Field(default=COMPLETENESS_BUCKET.name, min_length=1)
    token_file: Path
    connections: int = Field(default=4, ge=1, le=64)
    """Write requests at a time."""
    is_compressed: bool = False
    """gzip: less network for more of both processors. Not worth it on one machine."""
    request_timeout_s: float = Field(default=10.0, gt=0.0, le=300.0)
    retry_first_s: float = Field(default=0.5, gt=0.0, le=60.0)
    retry_max_s: float = Field(default=30.0, gt=0.0, le=600.0)

    def anchored(self, folder: Path) -> InfluxSettings:
        """With its relative path made relative to `folder`."""
        return self.model_copy(update={"token_file": folder / self.token_file})


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that InfluxDB will never take, for quarantine."""

    point_index: int
    """Position of its point in the columns that the body was built from."""
    line: bytes
    reason: str
    """What the server answered."""


@dataclass(slots=True)
class SinkCounters:
    """What the sink has done, for health."""

    stored_lines_total: int = 0
    refused_lines_total: int = 0
    requests_total: int = 0
    waits_total: int = 0
    waiting_because: str | None = None
    """What the server last answered, while the sink waits for it."""


class InfluxSink:
    """The buckets of one server that readings and completeness are written to."""

    def __init__(self, settings: InfluxSettings) -> None:
        self._settings = settings
        self._client = InfluxDBClient(
            url=settings.url,
            token=settings.token_file.read_text().strip(),
            org=settings.org,
            timeout=round(1000 * settings.request_timeout_s),
            enable_gzip=settings.is_compressed,
        )
        self._write_api = self._client.write_api(write_options=SYNCHRONOUS)
        self.counters = SinkCounters()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._client.close)

    async def write(self, body: Body) -> list[RefusedLine]:
        """Writes readings; returns the lines that were refused, when all others are stored.

        Waits for as long as the server is away, busy or closed to us (`counters.waiting_because` says why). Cancelled,
        it may leave a part stored: writing the same body again changes nothing.
        """
        return await self._write_to(self._settings.bucket, body)

    async def write_completeness(self, body: Body) -> list[RefusedLine]:
        """Like `write`, to the bucket of completeness."""
        return await self._write_to(self._settings.completeness_bucket, body)

    async def _write_to(self, bucket: str, body: Body) -> list[RefusedLine]:
        refused: list[RefusedLine] = []
        pending = [body]
        while pending:
            part = pending.pop()
            verdict = await self._write_until_answered(bucket, part)
            if not isinstance(verdict, Refused):
                self.counters.stored_lines_total += len(part.point_index)
            elif verdict.is_every_line:
                refused += _refused_lines(part, verdict.reason)
            else:
                pending += reversed(halves(part))
        if refused:
            self.counters.refused_lines_total += len(refused)
            _log.warning("influx_lines_refused lines=%d first_reason=%r", len(refused), refused[0].reason)
        return refused

    async def _write_until_answered(self, bucket: str, body: Body) -> Verdict:
        delay_s = self._settings.retry_first_s
        while True:
            verdict = await asyncio.to_thread(self._post, bucket, body)
            self.counters.requests_total += 1
            if not isinstance(verdict, Wait):
                self._note_that_it_answers()
                return verdict
            self._note_wait(verdict.reason)
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, no secret
            delay_s = min(2 * delay_s, self._settings.retry_max_s)

    def _post(self, bucket: str, body: Body) -> Verdict:
        """One request, in a thread of its own."""
        line_count = len(body.point_index)
        try:
            self._write_api.write(
                bucket,
                record=body.text,
                write_precision=WritePrecision.NS,  # type: ignore[arg-type]  # their enumeration is of plain strings
            )
        except ApiException as error:
            return judge(error.status or 0, _text(error), line_count)
        except (HTTPError, OSError) as error:
            return judge(0, repr(error), line_count)
        return judge(204, "", line_count)

    def _note_wait(self, reason: str) -> None:
        self.counters.waits_total += 1
        if self.counters.waiting_because is None:
            _log.warning("influx_waiting url=%s reason=%r", self._settings.url, reason)
        self.counters.waiting_because = reason

    def _note_that_it_answers(self) -> None:
        if self.counters.waiting_because is not None:
            _log.info("influx_answers_again url=%s", self._settings.url)
        self.counters.waiting_because = None


def _refused_lines(body: Body, reason: str) -> list[RefusedLine]:
    lines = body.text.split(b"\n")
    return [RefusedLine(int(index), line, reason) for index, line in zip(body.point_index, lines, strict=True)]


def _text(error: ApiException) -> str:
    body = error.body
    if isinstance(body, bytes):
        return body.decode(errors="replace")
    return str(body or error.reason or "")
