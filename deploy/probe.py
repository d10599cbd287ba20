"""Asks whether a program is ready: one HTTP GET, one TCP connection, or a look at a path (a shell)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from deploy.plan import Accepts, Answers, Exists, Readiness

PATIENCE_S = 1.0
"""For one connection or one answer."""
STATUS_OK = b"200"


async def is_ready(readiness: Readiness) -> bool:
    """Whether it holds now."""
    match readiness:
        case Exists(path):
            return Path(path).exists()  # noqa: ASYNC240 - one stat on a local file system
        case Accepts(host, port):
            return await _accepts(host, port)
        case Answers(url):
            return (await get(url))[0] == STATUS_OK


async def get_json(url: str, token: str) -> object | None:
    """The JSON answer of a service of ours, or None if it gives none now."""
    status, body = await get(url, token)
    if status != STATUS_OK:
        return None
    try:
        answer: object = json.loads(body)
    except ValueError:
        return None
    return answer


async def get(url: str, token: str | None = None) -> tuple[bytes, bytes]:
    """Status code and body of `GET url`; an empty status if there is no answer within PATIENCE_S."""
    parts = urlsplit(url)
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    request = f"GET {parts.path} HTTP/1.0\r\nHost: {parts.netloc}\r\n{authorization}\r\n"
    try:
        async with asyncio.timeout(PATIENCE_S):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(request.encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return b"", b""
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (words[1], body) if len(words) > 1 else (b"", b"")


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
