"""Shell: the gate before every route: who is signed in, that a POST comes from our own page, safe headers.

It stands before routing, so a new route is guarded without doing anything for it. Only `PUBLIC_PATHS` are open.
Without a session the page itself leads to the sign-in; everything else (fragments, stream, unknown paths) is 401.
A POST needs the session's CSRF token in a header that no foreign form can send; the cookie is SameSite=Strict too.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.credential import derive_csrf_token, hash_session_token
from console.session_store import SessionStore

SESSION_COOKIE: Final = "citysense_session"
CSRF_HEADER: Final = "X-CSRF-Token"
PUBLIC_PATHS: Final = frozenset({"/healthz", "/login"})
PUBLIC_PREFIX: Final = "/static/"
"""Style, scripts and pictures of the package: the sign-in page needs them, and they tell nothing of the city."""

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

SECURITY_HEADERS: Final = (
    (
        "Content-Security-Policy",
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in."""

    user_name: str
    token_hash: str
    csrf_token: str


class SessionGuard:
    """ASGI middleware; sets `request.state.session` (None on public paths)."""

    def __init__(self, app: ASGIApp, store: SessionStore, clock_ns: Callable[[], int]) -> None:
        self._app = app
        self._store = store
        self._clock_ns = clock_ns

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded_send = _add_headers(send, is_cached=scope["path"].startswith(PUBLIC_PREFIX))
        refusal = await self._check(Request(scope))
        await (refusal or self._app)(scope, receive, guarded_send)

    async def _check(self, request: Request) -> Response | None:
        request.state.session = None
        if request.method not in _SAFE_METHODS and not _is_from_our_page(request):
            return PlainTextResponse("cross-site request refused", status_code=403)
        path = request.url.path
        if path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIX):
            return None
        session = await self._find_session(request.cookies.get(SESSION_COOKIE))
        if session is None:
            if path == "/" and request.method == "GET":
                return RedirectResponse("/login", status_code=303)
            return PlainTextResponse("sign in first", status_code=401)
        if request.method not in _SAFE_METHODS:
            sent = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(sent.encode(), session.csrf_token.encode()):
                return PlainTextResponse(f"{CSRF_HEADER} is missing or wrong", status_code=403)
        request.state.session = session
        return None

    async def _find_session(self, token: str | None) -> Session | None:
        if not token:
            return None
        token_hash = hash_session_token(token)
        row = await asyncio.to_thread(self._store.find_session, token_hash, self._clock_ns())
        return None if row is None else Session(row.name, token_hash, derive_csrf_token(token))


def _is_from_our_page(request: Request) -> bool:
    """Whether the browser says that our own page sent it (Fetch Metadata); a client that is no browser says nothing."""
    return request.headers.get("Sec-Fetch-Site", "same-origin") in {"same-origin", "none"}


def _add_headers(send: Send, *, is_cached: bool) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS:
                headers.setdefault(name, value)
            headers.setdefault("Cache-Control", "no-cache" if is_cached else "no-store")
        await send(message)

    return send_with_headers
