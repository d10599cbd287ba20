"""The HTTP API of the device registry (shell: FastAPI).

Every request but `GET /healthz` must carry a bearer token, checked before anything of the request is read, so
that a route that somebody adds later is never open. What a role may do is checked per route.

Errors are JSON, `{"detail": …}`: 401 no known token, 403 not this role, 404 no such node, 409 a node's life does not
lead there, 422 not what the contract says, 503 with Retry-After the disk or database does not take it now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from contracts.access import Permission, Principal
from contracts.fleet import LifecycleState, Node
from contracts.identifiers import Identifier
from contracts.service import BearerGuard
from device_registry.audit import AuditEntry
from device_registry.errors import (
    RegistryError,
    StoreHeldError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreVersionError,
    TransitionRefusedError,
    UnknownNodeError,
)
from device_registry.snapshot_feed import SnapshotFeed

WAIT_MAX_S: Final = 30.0
"""Longest long poll; below the idle timeouts of usual proxies (60 s)."""
AUDIT_PAGE_MAX: Final = 1_000
RETRY_AFTER_S: Final = 1
INTEGER_MAX: Final = 2**63 - 1

_STATUS: Final[dict[type[RegistryError], int]] = {
    UnknownNodeError: 404,
    TransitionRefusedError: 409,
    StoreRefusedError: 500,
    StoreUnavailableError: 503,
    StoreHeldError: 503,
    StoreVersionError: 503,
}
_logger = logging.getLogger(__name__)


class NodePatch(BaseModel):
    """Body of `PATCH /v1/nodes/{node_id}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: LifecycleState


def require(permission: Permission) -> Callable[[Request], Principal]:
    """A route's dependency: the calling principal, or 403 if its role lacks the permission."""

    def check_permission(request: Request) -> Principal:
        principal: Principal = request.state.principal
        if not principal.may(permission):
            raise HTTPException(403, f"role {principal.role.value} lacks permission {permission.value}")
        return principal

    return check_permission


def _find_feed(request: Request) -> SnapshotFeed:
    feed: SnapshotFeed = request.app.state.feed
    return feed


Feed = Annotated[SnapshotFeed, Depends(_find_feed)]
Engineer = Annotated[Principal, Depends(require(Permission.MANAGE_FLEET))]
_may_read = [Depends(require(Permission.READ))]

routes = APIRouter()


@routes.get("/healthz")
async def tell_liveness() -> dict[str, str]:
    """Says that the process answers; nothing else."""
    return {"status": "ok"}


@routes.get("/v1/fleet", dependencies=_may_read)
async def show_fleet(
    feed: Feed,
    known_revision: Annotated[int | None, Query(ge=0, le=INTEGER_MAX)] = None,
    wait_s: Annotated[float, Query(ge=0.0, le=WAIT_MAX_S)] = 0.0,
) -> Response:
    """The fleet's snapshot (`contracts.fleet.FleetSnapshot`); a long poll if `known_revision` is given.

    Without `known_revision`: at once. With it: as soon as the revision is another one, or 304 after `wait_s`.
    Retired nodes are in it by name, without channels and conditions.
    A channel without `scores` has the default of its domain.
    """
    snapshot = await feed.wait_for_snapshot(known_revision, wait_s)
    if snapshot is None:
        return Response(status_code=304)
    return Response(snapshot.body, media_type="application/json")


@routes.get("/v1/nodes/{node_id}", dependencies=_may_read)
async def show_node(node_id: Identifier, feed: Feed) -> Node:
    """One node, retired or not."""
    return await feed.read_node(node_id)


@routes.patch("/v1/nodes/{node_id}")
async def change_node(node_id: Identifier, patch: NodePatch, feed: Feed, principal: Engineer) -> Node:
    """Moves a node on in its life (`node_life_cycle.NODE_TRANSITIONS`). The same state again changes nothing."""
    return await feed.change_state(node_id, patch.state, principal.name)


@routes.get("/v1/audit", dependencies=_may_read)
async def list_audit(
    feed: Feed,
    limit: Annotated[int, Query(ge=1, le=AUDIT_PAGE_MAX)] = 100,
    before_entry: Annotated[int | None, Query(ge=1, le=INTEGER_MAX)] = None,
) -> list[AuditEntry]:
    """Who changed what, newest first. Page on with `before_entry` = the last `entry_id` of the page."""
    return await feed.read_audit(limit, before_entry)


def create_app(feed: SnapshotFeed, principals: Sequence[Principal]) -> FastAPI:
    """Builds the application; it publishes no documentation routes."""
    app = FastAPI(title="device-registry", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.feed = feed
    app.include_router(routes)
    app.add_middleware(BearerGuard, principals=principals)
    app.add_exception_handler(RegistryError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    status = _STATUS[type(error)] if isinstance(error, RegistryError) else 500
    headers = None
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        _logger.error("event=store_unavailable method=%s path=%s error=%r", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, status, headers)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    """422 without an echo of the input: FastAPI's own answer fails on a NaN."""
    assert isinstance(error, RequestValidationError)
    faults = [{"loc": fault["loc"], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)
