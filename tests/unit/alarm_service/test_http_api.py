"""The HTTP API over a real journal: who may call what, and what a long poll waits for."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time

import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from alarm_service.desk import AlarmDesk
from alarm_service.http_api import create_app
from contracts import access
from contracts.access import Principal, Role, hash_token

PRINCIPALS = [Principal(name=role.value, role=role, token_sha256=hash_token(f"token of {role.value}")) for role in Role]
NOW_NS = 1_790_000_100 * 1_000_000_000


def token_of(role):
    return {"Authorization": f"Bearer token of {role}"}


@pytest.fixture
def desk(journal):
    with contextlib.closing(AlarmDesk(journal, lambda: NOW_NS)) as desk:
        yield desk


@pytest.fixture
def app(desk):
    return create_app(desk, PRINCIPALS)


def call(app, story):
    """Runs `await story(client)` against the application."""

    async def run():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://alarms") as client:
            return await story(client)

    return asyncio.run(run())


def ask(app, method, path, role=None, **request):
    headers = token_of(role) if role else request.pop("headers", None)
    return call(app, lambda client: client.request(method, path, headers=headers, **request))


def list_routes(app):
    """Every method and path that the application answers, `{alarm_id}` filled in."""
    document = get_openapi(title="all", version="1", routes=app.routes)
    return [
        (method.upper(), re.sub(r"\{\w+\}", "1", path))
        for path, methods in document["paths"].items()
        for method in methods
    ]


def post_events(app, *events, role="processor"):
    body = {"events": [event.model_dump(mode="json") for event in events]}
    return ask(app, "POST", "/v1/conditions", role, json=body)


def test_the_list_of_routes_that_the_next_tests_walk_is_whole(app):
    assert set(list_routes(app)) == {
        ("GET", "/healthz"),
        ("POST", "/v1/conditions"),
        ("GET", "/v1/alarms"),
        ("GET", "/v1/alarms/1"),
        ("POST", "/v1/alarms/1/acknowledge"),
        ("GET", "/v1/journal"),
        ("GET", "/v1/health"),
    }


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic token of viewer"},
        {"Authorization": "Bearer "},
    ],
)
def test_no_route_but_healthz_answers_without_a_known_token(app, headers):
    for method, path in list_routes(app):
        answer = ask(app, method, path, headers=headers, content=b"not JSON {")
        assert answer.status_code == (200 if path == "/healthz" else 401), f"{method} {path}"
    assert ask(app, "GET", "/openapi.json", headers=headers).status_code == 401


def test_every_route_but_healthz_asks_for_a_permission(app, monkeypatch):
    monkeypatch.setattr(access, "ROLE_PERMISSIONS", {role: frozenset() for role in Role})
    for method, path in list_routes(app):
        body = {"by": "x"} if path.endswith("acknowledge") else None
        if path == "/v1/conditions":
            continue
        answer = ask(app, method, path, "engineer", json=body)
        assert answer.status_code == (200 if path == "/healthz" else 403), f"{method} {path}"


def test_every_route_but_healthz_asks_for_a_permission_before_it_reads_a_valid_body(app, monkeypatch, make_event):
    monkeypatch.setattr(access, "ROLE_PERMISSIONS", {role: frozenset() for role in Role})
    assert post_events(app, make_event("active", 1.0)).status_code == 403


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("operator", 403), ("engineer", 403), ("processor", 200)]
)
def test_only_a_processor_raises(app, make_event, role, status):
    assert post_events(app, make_event("active", 1.0), role=role).status_code == status


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("processor", 403), ("operator", 200), ("engineer", 200)]
)
def test_only_people_on_duty_acknowledge(app, make_event, role, status):
    post_events(app, make_event("active", 1.0))
    answer = ask(app, "POST", "/v1/alarms/1/acknowledge", role, json={"by": "zhang"})
    assert answer.status_code == status


def test_liveness_says_nothing_else(app):
    assert ask(app, "GET", "/healthz").json() == {"status": "ok"}


def test_health_without_kafka_is_that_of_the_journal(app):
    assert ask(app, "GET", "/v1/health", "viewer").json() == {
        "is_journal_available": True,
        "refused_messages_kept": 0,
        "kafka": None,
    }


def test_an_alarm_is_raised_acknowledged_and_returns(app, make_event):
    assert post_events(app, make_event("active", 1.0)).json() == {"accepted": 1, "duplicates": 0}
    (alarm,) = ask(app, "GET", "/v1/alarms", "viewer").json()["alarms"]
    assert (alarm["state"], alarm["value"]) == ("unacknowledged", 26.5)
    body = {"by": "zhang", "note": "crew on the way"}
    answer = ask(app, "POST", "/v1/alarms/1/acknowledge", "operator", json=body).json()
    assert (answer["state"], answer["acknowledged_by"]) == ("acknowledged", "zhang")
    post_events(app, make_event("normal", 2.0))
    assert ask(app, "GET", "/v1/alarms", "viewer").json()["alarms"] == []
    assert ask(app, "GET", "/v1/alarms/1", "viewer").json()["state"] == "normal"
    entries = ask(app, "GET", "/v1/journal", "viewer", params={"limit": 2}).json()
    assert [(entry["kind"], entry["by"]) for entry in entries] == [("returned", "processor"), ("acknowledged", "zhang")]


def test_acknowledging_twice_keeps_the_first_name_and_a_normal_alarm_is_a_conflict(app, make_event):
    post_events(app, make_event("active", 1.0))
    ask(app, "POST", "/v1/alarms/1/acknowledge", "operator", json={"by": "zhang"})
    again = ask(app, "POST", "/v1/alarms/1/acknowledge", "operator", json={"by": "li"})
    assert (again.status_code, again.json()["acknowledged_by"]) == (200, "zhang")
    post_events(app, make_event("normal", 2.0))
    late = ask(app, "POST", "/v1/alarms/1/acknowledge", "operator", json={"by": "li"})
    assert (late.status_code, late.json()["detail"]) == (409, "alarm 1 is normal already, acknowledged by zhang")


def test_an_unknown_alarm_is_404(app):
    assert ask(app, "GET", "/v1/alarms/5", "viewer").status_code == 404
    assert ask(app, "POST", "/v1/alarms/5/acknowledge", "operator", json={"by": "x"}).status_code == 404


def test_a_bad_event_refuses_the_whole_post(app, make_event):
    good = make_event("active", 1.0).model_dump(mode="json")
    other = make_event("active", 1.0, condition_id="other").model_dump(mode="json")
    bad_bodies = [
        {"events": [good, other | {"priority": 9}]},
        {"events": [good, other | {"surprise": 1}]},
        {"events": [good, other | {"phenomenon_ns": 2**63}]},
        {"events": [good, good]},
        {"events": []},
        [],
    ]
    for body in bad_bodies:
        assert ask(app, "POST", "/v1/conditions", "processor", json=body).status_code == 422
    for text in (b'{"events": [', b"", b'{"events": NaN}', b"\xff"):
        answer = ask(
            app,
            "POST",
            "/v1/conditions",
            headers=token_of("processor") | {"content-type": "application/json"},
            content=text,
        )
        assert answer.status_code in {400, 422}, text
    assert ask(app, "GET", "/v1/journal", "viewer").json() == []
    assert ask(app, "GET", "/v1/alarms", "viewer").json() == {"revision": 0, "alarms": []}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/alarms?wait_s=31",
        "/v1/alarms?wait_s=nan",
        "/v1/alarms?changed_after=-1",
        "/v1/alarms?changed_after=99999999999999999999",
        "/v1/alarms/0",
        "/v1/alarms/99999999999999999999",
        "/v1/journal?limit=0",
        "/v1/journal?limit=100000",
    ],
)
def test_a_number_out_of_range_is_422(app, path):
    assert ask(app, "GET", path, "viewer").status_code == 422


def test_a_long_poll_wakes_when_an_alarm_is_raised(app, make_event):
    body = {"events": [make_event("active", 1.0).model_dump(mode="json")]}

    async def story(client):
        params = {"changed_after": 0, "wait_s": 30}
        poll = asyncio.create_task(client.get("/v1/alarms", params=params, headers=token_of("viewer")))
        done, _ = await asyncio.wait([poll], timeout=0.1)
        assert not done, "there is no alarm yet, the poll must wait"
        await client.post("/v1/conditions", json=body, headers=token_of("processor"))
        return (await asyncio.wait_for(poll, 5)).json()

    page = call(app, story)
    assert [alarm["condition_id"] for alarm in page["alarms"]] == ["gas-1-high"]
    assert page["revision"] == 1


def test_a_long_poll_with_old_knowledge_is_answered_at_once(app, make_event):
    post_events(app, make_event("active", 1.0), make_event("active", 1.0, condition_id="other"))
    started = time.monotonic()
    answer = ask(app, "GET", "/v1/alarms", "viewer", params={"changed_after": 1, "wait_s": 30})
    assert [alarm["condition_id"] for alarm in answer.json()["alarms"]] == ["other"]
    assert time.monotonic() - started < 10


def test_a_long_poll_ends_empty_after_its_time(app, make_event):
    post_events(app, make_event("active", 1.0))
    answer = ask(app, "GET", "/v1/alarms", "viewer", params={"changed_after": 1, "wait_s": 0.05})
    assert answer.json() == {"revision": 1, "alarms": []}


def test_a_long_poll_is_answered_when_the_service_stops(app, desk):
    async def story(client):
        params = {"changed_after": 0, "wait_s": 30}
        poll = asyncio.create_task(client.get("/v1/alarms", params=params, headers=token_of("viewer")))
        await asyncio.wait([poll], timeout=0.05)
        await desk.wake_waiters()
        return (await asyncio.wait_for(poll, 5)).status_code

    assert call(app, story) == 200


def test_a_store_that_does_not_take_it_is_503_and_nothing_is_kept(app, in_trouble, make_event):
    with in_trouble():
        answer = post_events(app, make_event("active", 1.0))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "lock" in answer.json()["detail"]
    assert post_events(app, make_event("active", 1.0)).json()["accepted"] == 1
