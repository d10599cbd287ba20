"""Shell: what all routes of the console need at hand: state, services, store, renderer, clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import Request

from console.configuration import CitySettings
from console.live_hub import LiveHub
from console.presentation import Reader
from console.rendering import Renderer
from console.session_guard import Session
from console.session_store import SessionStore
from console.sign_in_throttle import SignInThrottle
from console.texts import Language, Wording, choose_language
from console.upstream_client import UpstreamClient

LANGUAGE_COOKIE = "citysense_language"


@dataclass(frozen=True, slots=True)
class Desk:
    """One per process."""

    city: CitySettings
    hub: LiveHub
    store: SessionStore
    alarm_service: UpstreamClient
    stream_processor: UpstreamClient
    is_tls: bool
    clock_ns: Callable[[], int] = time.time_ns
    renderer: Renderer = field(default_factory=Renderer)
    throttle: SignInThrottle = field(default_factory=SignInThrottle)

    def reader(self, request: Request) -> Reader:
        """For whom the answer is made."""
        return Reader(Wording(language_of(request)), self.city.zone, self.clock_ns())


def language_of(request: Request) -> Language:
    """The language that the request asks for, by address, cookie or browser."""
    return choose_language(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language"),
    )


def session_of(request: Request) -> Session:
    """Who asks. Only for routes behind the guard."""
    session = request.state.session
    if not isinstance(session, Session):
        raise TypeError("a route that needs a session is on a public path")
    return session
