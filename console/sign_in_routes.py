"""Shell: sign in, sign out, and a one-time password for another device. Each leaves an audit line in the log."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from console.credential import (
    PASSWORD_LIFE_NS,
    SESSION_LIFE_NS,
    clean_user_name,
    hash_password,
    hash_session_token,
    make_password,
)
from console.desk import LANGUAGE_COOKIE, Desk, language_of, session_of
from console.presentation import format_time
from console.session_guard import SESSION_COOKIE
from contracts.observation import NANOSECONDS_PER_SECOND

_YEAR_S: Final = 365 * 86_400

_log = logging.getLogger(__name__)


def build_sign_in_routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/login")
    async def show_login(request: Request) -> Response:
        return switch_language(request) or HTMLResponse(desk.renderer.login(desk.reader(request), desk.city.name))

    @router.post("/login")
    async def sign_in(
        request: Request,
        name: Annotated[str, Form(max_length=200)] = "",
        password: Annotated[str, Form(max_length=200)] = "",
    ) -> Response:
        address = request.client.host if request.client else "unknown"
        reader = desk.reader(request)
        wait_s = desk.throttle.wait_s(address, reader.now_ns)
        user_name = clean_user_name(name)
        error = None
        token = secrets.token_urlsafe(32)
        if wait_s:
            error, status = reader.wording("login.throttled", seconds=wait_s), 429
        elif user_name is None:
            error, status = reader.wording("login.bad_name"), 422
        elif not await _exchange(desk, password, user_name, token, reader.now_ns):
            desk.throttle.note_failure(address, reader.now_ns)
            error, status = reader.wording("login.failed"), 403
        if error is not None or user_name is None:
            _log.warning("event=sign_in_failed address=%s user=%r status=%d", address, name[:64], status)
            html = desk.renderer.login(reader, desk.city.name, error, name[:64])
            headers = {"Retry-After": str(wait_s)} if wait_s else None
            return HTMLResponse(html, status_code=status, headers=headers)
        desk.throttle.note_success(address)
        _log.info("event=signed_in address=%s user=%r", address, user_name)
        answer = RedirectResponse("/", status_code=303)
        _set_session(answer, token, is_tls=desk.is_tls)
        return answer

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        session = session_of(request)
        await asyncio.to_thread(desk.store.remove_session, session.token_hash)
        _log.info("event=signed_out user=%r", session.user_name)
        answer = Response(status_code=204, headers={"HX-Redirect": "/login"})
        answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=desk.is_tls)
        return answer

    @router.post("/another-device")
    async def issue_for_another_device(request: Request) -> HTMLResponse:
        session = session_of(request)
        reader = desk.reader(request)
        password = make_password(secrets.choice)
        expires_ns = reader.now_ns + PASSWORD_LIFE_NS
        await asyncio.to_thread(desk.store.add_password, hash_password(password), session.user_name, expires_ns)
        _log.info("event=password_issued by=%r user=%r", session.user_name, session.user_name)
        expires = format_time(expires_ns, reader)
        return HTMLResponse(desk.renderer.device(password, session.user_name, expires, reader))

    return router


def switch_language(request: Request) -> Response | None:
    """For an address with `?lang=`: remembers it in a cookie and leads to the same address without it."""
    if "lang" not in request.query_params:
        return None
    answer = RedirectResponse(str(request.url.remove_query_params("lang")), status_code=303)
    answer.set_cookie(LANGUAGE_COOKIE, language_of(request).value, max_age=_YEAR_S, httponly=True, samesite="lax")
    return answer


async def _exchange(desk: Desk, password: str, user_name: str, token: str, now_ns: int) -> bool:
    session = (hash_session_token(token), now_ns + SESSION_LIFE_NS)
    return await asyncio.to_thread(desk.store.exchange_password, hash_password(password), user_name, session, now_ns)


def _set_session(answer: Response, token: str, *, is_tls: bool) -> None:
    answer.set_cookie(
        SESSION_COOKIE,
        token,
        max_age=SESSION_LIFE_NS // NANOSECONDS_PER_SECOND,
        httponly=True,
        samesite="strict",
        secure=is_tls,
    )
