"""Shell: the web application: guard, routes, static files."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from console.desk import Desk
from console.live_routes import build_live_routes
from console.page_routes import build_channel_routes, build_page_routes
from console.session_guard import SessionGuard
from console.sign_in_routes import build_sign_in_routes


def build_app(desk: Desk) -> FastAPI:
    """The application. Every route but the guard's public paths needs a session."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(build_page_routes(desk))
    app.include_router(build_channel_routes(desk))
    app.include_router(build_live_routes(desk))
    app.include_router(build_sign_in_routes(desk))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(SessionGuard, store=desk.store, clock_ns=desk.clock_ns)
    return app
