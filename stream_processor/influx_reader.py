"""Questions to InfluxDB (shell: HTTP): InfluxQL at `/query`, as 1.8, 2.x and 3 have it."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import httpx

from contracts.query import Trend
from stream_processor.errors import StoreBusyError
from stream_processor.fleet_index import ChannelContext
from stream_processor.influx_question import InfluxAnswerError, parse_trend, render_trend
from stream_processor.influx_sink import InfluxSettings


class InfluxReader:
    """One server. What it does not answer is a StoreBusyError with its words."""

    def __init__(self, settings: InfluxSettings) -> None:
        database, _, policy = settings.bucket.partition("/")
        self._parameters = {"db": database, "epoch": "ns", **({"rp": policy} if policy else {})}
        self._url = settings.url
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            headers={"Authorization": f"Token {settings.token_file.read_text().strip()}"},
            timeout=settings.request_timeout_s,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def trend(self, context: ChannelContext, from_ns: int, to_ns: int, bucket_ns: int) -> Trend:
        """Observations of a channel in time buckets. Raises StoreBusyError."""
        good, bad = render_trend(context, from_ns, to_ns, bucket_ns)
        answers = await asyncio.gather(self._ask(good), self._ask(bad))
        try:
            return parse_trend(answers, context.channel.channel_id, from_ns, to_ns, bucket_ns)
        except InfluxAnswerError as error:
            raise StoreBusyError(str(error)) from error

    async def _ask(self, question: str) -> object:
        try:
            answer = await self._client.get("/query", params={**self._parameters, "q": question})
        except httpx.TransportError as error:
            raise StoreBusyError(f"InfluxDB at {self._url} does not answer: {error!r}") from error
        if answer.status_code != httpx.codes.OK:
            raise StoreBusyError(f"InfluxDB at {self._url} answers {answer.status_code} {answer.text[:200]}")
        try:
            document: object = answer.json()
        except ValueError as error:
            raise StoreBusyError(f"InfluxDB at {self._url} answers no JSON: {answer.text[:200]}") from error
        return document
