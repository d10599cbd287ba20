"""The HTTP API of the alarm service (shell: FastAPI).

Every request but `GET /healthz` must carry a bearer token, checked before anything of the request is read, so
that a route that somebody adds later is never open. What a role may do is checked per route.

Errors are JSON, `{"detail": …}`: 401 no known token, 403 not this role, 404 no such alarm, 409 nothing to
acknowledge, 422 not what the contract says, 503 with Retry-After the disk or database does not take it now.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from alarm_service.desk import AlarmDesk
from alarm_service.errors import (
    AlarmNormalError,
    AlarmServiceError,
    JournalHeldError,
    JournalRefusedError,
    JournalUnavailableError,
    JournalVersionError,
    UnknownAlarmError,
)
from alarm_service.health import AlarmServiceHealth, ReaderHealth
from contracts.access import Permission, Principal
from contracts.alarm import (
    Acknowledgement,
    Alarm,
    AlarmPage,
    ConditionBatch,
    ConditionReceipt,
    JournalEntry,
)
from contracts.service import BearerGuard

WAIT_MAX_S: Final = 30.0
"""Longest long poll; below the idle timeouts of usual proxies (60 s)."""
JOURNAL_PAGE_MAX: Final = 1_000
RETRY_AFTER_S: Final = 1
INTEGER_MAX: Final = 2**63 - 1

_STATUS: Final[dict[type[AlarmServiceError], int]] = {
    UnknownAlarmError: 404,
    AlarmNormalError: 409,
    JournalRefusedError: 500,
    JournalUnavailableError: 503,
    JournalHeldError: 503,
    JournalVersionError: 503,
}
_logger = logging.getLogger(__name__)


def require(permission: Permission) -> Callable[[Request], Principal]:
    """A route's dependency: the calling principal, or 403 if its role lacks the permission."""

    def check_permission(request: Request) -> Principal:
        principal: Principal = request.state.principal
        if not principal.may(permission):
            raise HTTPException(403, f"role {principal.role.value} lacks permission {permission.value}")
        return principal

    return check_permission


def _find_desk(request: Request) -> AlarmDesk:
    desk: AlarmDesk = request.app.state.desk
    return desk


Desk = Annotated[AlarmDesk, Depends(_find_desk)]
Raiser = Annotated[Principal, Depends(require(Permission.RAISE))]
Acknowledger = Annotated[Principal, Depends(require(Permission.ACKNOWLEDGE))]
_may_read = [Depends(require(Permission.READ))]
AlarmNumber = Annotated[int, Path(ge=1, le=INTEGER_MAX)]

routes = APIRouter()


@routes.get("/healthz")
async def tell_liveness() -> dict[str, str]:
    """Says that the process answers; nothing else."""
    return {"status": "ok"}


@routes.get("/v1/health", dependencies=_may_read)
async def show_health(request: Request, desk: Desk) -> AlarmServiceHealth:
    """How journal and reader of Kafka do."""
    refused = await desk.count_refused()
    kafka: ReaderHealth | None = request.app.state.reader_health
    return AlarmServiceHealth(is_journal_available=refused is not None, refused_messages_kept=refused, kafka=kafka)


@routes.post("/v1/conditions")
async def take_conditions(batch: ConditionBatch, desk: Desk, principal: Raiser) -> ConditionReceipt:
    """Takes condition events in. 200 means: each is durably in the journal; otherwise none of them is."""
    return await desk.take_events(batch.events, principal.name)


@routes.get("/v1/alarms", dependencies=_may_read)
async def list_alarms(
    desk: Desk,
    changed_after: Annotated[int | None, Query(ge=0, le=INTEGER_MAX)] = None,
    wait_s: Annotated[float, Query(ge=0.0, le=WAIT_MAX_S)] = 0.0,
) -> AlarmPage:
    """Alarms, gravest first; a long poll if `changed_after` and `wait_s` are given.

    Without `changed_after`: at once, all alarms that are not normal. With it: as soon as the service's revision
    is another one, or after `wait_s`; then what changed after it, alarms that became normal included. A page
    may hold only the oldest changes; its `revision` says from where to ask on. A page whose revision is *lower*
    than the asked-for one comes from a restored journal: forget what you have and show this.
    """
    return await desk.read_alarms(changed_after, wait_s)


@routes.get("/v1/alarms/{alarm_id}", dependencies=_may_read)
async def show_alarm(alarm_id: AlarmNumber, desk: Desk) -> Alarm:
    """One alarm, normal or not."""
    return await desk.read_alarm(alarm_id)


@routes.post("/v1/alarms/{alarm_id}/acknowledge")
async def acknowledge_alarm(
    alarm_id: AlarmNumber,
    acknowledgement: Acknowledgement,
    desk: Desk,
    principal: Acknowledger,
) -> Alarm:
    """Acknowledges an alarm. Twice is harmless: the first name stays. 409 if the alarm is normal already."""
    return await desk.acknowledge(alarm_id, acknowledgement, principal.name)


@routes.get("/v1/journal", dependencies=_may_read)
async def list_journal(
    desk: Desk,
    limit: Annotated[int, Query(ge=1, le=JOURNAL_PAGE_MAX)] = 100,
    before_entry: Annotated[int | None, Query(ge=1, le=INTEGER_MAX)] = None,
) -> list[JournalEntry]:
    """What happened, newest first. Page on with `before_entry` = the last `entry_id` of the page."""
    return await desk.read_entries(limit, before_entry)


def create_app(desk: AlarmDesk, principals: Sequence[Principal], reader_health: ReaderHealth | None = None) -> FastAPI:
    """Builds the application; it publishes no documentation routes. The health of a reader of Kafka may change."""
    app = FastAPI(title="alarm-service", openapi_url=None, docs_url=None, redoc_url=None)
    app.state.desk = desk
    app.state.reader_health = reader_health
    app.include_router(routes)
    app.add_middleware(BearerGuard, principals=principals)
    app.add_exception_handler(AlarmServiceError, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    status = _STATUS[type(error)] if isinstance(error, AlarmServiceError) else 500
    headers = None
    if status == 503:
        headers = {"Retry-After": str(RETRY_AFTER_S)}
        _logger.error("event=journal_unavailable method=%s path=%s error=%r", request.method, request.url.path, error)
    return JSONResponse({"detail": str(error)}, status, headers)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    """422 without an echo of the input: FastAPI's own answer fails on a NaN."""
    assert isinstance(error, RequestValidationError)
    faults = [{"loc": fault["loc"], "msg": fault["msg"], "type": fault["type"]} for fault in error.errors()]
    return JSONResponse({"detail": faults}, 422)
