"""The read API beside the rest of a process, in the same event loop (shell: a listening socket)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import uvicorn
from fastapi import FastAPI

from contracts.service import HttpListener

SHUTDOWN_S: Final = 1


class _QuietServer(uvicorn.Server):
    """A server that leaves SIGTERM and SIGINT to us."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(api: FastAPI, listener: HttpListener, on_end: Callable[[], None]) -> AsyncIterator[None]:
    """Serves inside the block; `on_end` lets long polls answer before the server is stopped."""
    server = _QuietServer(
        uvicorn.Config(
            api,
            host=listener.host,
            port=listener.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )
    task = asyncio.create_task(server.serve(), name="http")
    try:
        yield
    finally:
        on_end()
        server.should_exit = True
        await task
