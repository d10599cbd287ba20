"""What all REST services of the platform share: where they listen, who may call, and the guard before every route.

Pure: the guard speaks ASGI (https://asgi.readthedocs.io/en/latest/specs/www.html), which is calls and dictionaries; it
owns no socket. What a role may do is checked per route, with `Principal.may`.
"""

from __future__ import annotations

import ipaddress
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from contracts.access import Principal, authenticate
from contracts.configuration import Settings

OPEN_PATH: Final = "/healthz"
"""The one route without a token: it says that the process answers, and nothing else."""
_REFUSAL: Final = json.dumps({"detail": "a known bearer token is required"}).encode()

AsgiMessage = MutableMapping[str, Any]
AsgiScope = MutableMapping[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
AsgiApp = Callable[[AsgiScope, AsgiReceive, AsgiSend], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_loopback(host: str) -> str:
    if not is_loopback(host):
        raise ValueError("not loopback: tokens must not travel in the clear, put a TLS proxy in front")
    return host


class HttpListener(Settings):
    """`[http]`: where a service listens. Loopback only; a TLS proxy on the same machine serves other ones."""

    host: Annotated[str, AfterValidator(_check_loopback)] = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)
    """TCP port; 0 lets the system choose (the log says which)."""


def _check_principals(principals: tuple[Principal, ...]) -> tuple[Principal, ...]:
    if not principals:
        raise ValueError("at least one [[principal]] is needed, or nobody may call")
    _check_single("name", (principal.name for principal in principals))
    _check_single("token_sha256", (principal.token_sha256 for principal in principals))
    return principals


def _check_single(key: str, values: Iterable[str]) -> None:
    doubles = [value for value, count in Counter(values).items() if count > 1]
    if doubles:
        raise ValueError(f"{key} must be unique, but stands more than once: {', '.join(doubles)}")


Principals = Annotated[tuple[Principal, ...], AfterValidator(_check_principals)]
"""`[[principal]]`: who may call; at least one, names and tokens unique."""


class BearerGuard:
    """ASGI middleware: 401 without a known token, else the principal in `request.state.principal`.

    It stands before routing and reads nothing of the request but its head, so that a route that somebody adds later is
    never open.
    """

    def __init__(self, app: AsgiApp, principals: Sequence[Principal]) -> None:
        self._app = app
        self._principals = principals

    async def __call__(self, scope: AsgiScope, receive: AsgiReceive, send: AsgiSend) -> None:
        """Lets a request pass, or answers it."""
        if scope["type"] == "http" and scope["path"] != OPEN_PATH:
            principal = authenticate(_authorization(scope), self._principals)
            if principal is None:
                await _refuse(send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


def _authorization(scope: AsgiScope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            return bytes(value).decode("latin-1")
    return None


async def _refuse(send: AsgiSend) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(_REFUSAL)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": _REFUSAL})
