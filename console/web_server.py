"""Shell: runs the application and the polling until SIGTERM or SIGINT, then stops within 3 s.

uvicorn waits for open answers when it stops, and the event streams are open answers: so the hub ends them first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn

from console.configuration import ConsoleSettings, UpstreamSettings
from console.desk import Desk
from console.errors import StartError
from console.live_hub import LiveHub
from console.session_store import SessionStore
from console.upstream_client import UpstreamClient
from console.upstream_polling import UpstreamPolling
from console.web_app import build_app

GRACE_S: Final = 2
"""How long open answers may still take when the console stops."""

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own (it would raise the signal again after a clean stop)."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: ConsoleSettings, folder: Path) -> None:
    """Serves until a signal. Relative paths of the settings are relative to `folder`.

    Raises:
        StartError: a token file cannot be read, the store cannot be opened, or the address is taken.
    """
    listener = _listen(settings.http.host, settings.http.port)
    with contextlib.closing(listener), contextlib.closing(SessionStore(folder / settings.store.path)) as store:
        registry = _connect("device registry", settings.registry, folder)
        alarm_service = _connect("alarm service", settings.alarm_service, folder)
        stream_processor = _connect("stream processor", settings.stream_processor, folder)
        hub = LiveHub()
        desk = Desk(settings.city, hub, store, alarm_service, stream_processor, settings.http.is_tls)
        polling = UpstreamPolling(hub, registry, alarm_service, stream_processor, desk.clock_ns)
        server = _Server(_configure(settings, folder, desk))
        _stop_on_signals(server, hub)
        _log.info("event=listening url=%s", _url_of(settings, listener))
        try:
            await _run_both(server, polling, hub, listener)
        finally:
            for client in (registry, alarm_service, stream_processor):
                await client.aclose()
        _log.info("event=stopped")


async def _run_both(server: _Server, polling: UpstreamPolling, hub: LiveHub, listener: socket.socket) -> None:
    polling_task = asyncio.create_task(polling.run())
    serving_task = asyncio.create_task(server.serve(sockets=[listener]))
    await asyncio.wait({polling_task, serving_task}, return_when=asyncio.FIRST_COMPLETED)
    hub.stop()
    server.should_exit = True
    polling_task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await polling_task  # raises what ended it, if it was not our cancelling
    await serving_task


def _configure(settings: ConsoleSettings, folder: Path, desk: Desk) -> uvicorn.Config:
    http = settings.http
    return uvicorn.Config(
        build_app(desk),
        access_log=False,
        log_config=None,
        log_level="warning",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
        ssl_certfile=folder / http.tls_certificate_file if http.tls_certificate_file else None,
        ssl_keyfile=folder / http.tls_key_file if http.tls_key_file else None,
    )


def _stop_on_signals(server: _Server, hub: LiveHub) -> None:
    def stop() -> None:
        hub.stop()
        server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error}") from error
    # asyncio sets it only on sockets that name TCP themselves; without it answers are held back for 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _connect(service: str, upstream: UpstreamSettings, folder: Path) -> UpstreamClient:
    path = folder / upstream.token_file
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"token of the {service}: {error}") from error
    if not token or not token.isascii() or not token.isprintable():
        raise StartError(f"token of the {service}: {path} holds no token")
    if path.stat().st_mode & 0o077:
        _log.warning("event=token_file_open_to_others path=%s", path)
    return UpstreamClient(service, upstream.url, token)


def _url_of(settings: ConsoleSettings, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "https" if settings.http.is_tls else "http"
    return f"{scheme}://[{host}]:{port}/" if ":" in host else f"{scheme}://{host}:{port}/"
