"""The HTTP API over a real store: who may call what, and what a long poll waits for."""

from __future__ import annotations

import asyncio
import contextlib
import re

import httpx
import pytest
from fastapi.openapi.utils import get_openapi

from contracts import access
from contracts.access import Principal, Role, hash_token
from contracts.fleet import FleetSnapshot
from device_registry.fleet_file import parse_fleet_file
from device_registry.http_api import create_app
from device_registry.snapshot_feed import SnapshotFeed
from device_registry.store import Store

PRINCIPALS = [Principal(name=role.value, role=role, token_sha256=hash_token(f"token of {role.value}")) for role in Role]


def token_of(role):
    return {"Authorization": f"Bearer token of {role}"}


@pytest.fixture
def feed(store, example):
    store.import_fleet(parse_fleet_file(example, "example.toml"), "example.toml", "cli:test", 1_000)
    with contextlib.closing(SnapshotFeed(store, lambda: 2_000)) as feed:
        yield feed


@pytest.fixture
def app(feed):
    return create_app(feed, PRINCIPALS)


def call(app, story):
    """Runs `await story(client)` against the application."""

    async def run():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://registry") as client:
            return await story(client)

    return asyncio.run(run())


def ask(app, method, path, role=None, **request):
    headers = token_of(role) if role else request.pop("headers", None)
    return call(app, lambda client: client.request(method, path, headers=headers, **request))


def list_routes(app):
    """Every method and path that the application answers, `{node_id}` filled in."""
    document = get_openapi(title="all", version="1", routes=app.routes)
    return [
        (method.upper(), re.sub(r"\{\w+\}", "gas-1", path))
        for path, methods in document["paths"].items()
        for method in methods
    ]


def patch(app, body, role="engineer", node_id="gas-1"):
    return ask(app, "PATCH", f"/v1/nodes/{node_id}", role, json=body)


def test_the_list_of_routes_that_the_next_tests_walk_is_whole(app):
    assert set(list_routes(app)) == {
        ("GET", "/healthz"),
        ("GET", "/v1/fleet"),
        ("GET", "/v1/nodes/gas-1"),
        ("PATCH", "/v1/nodes/gas-1"),
        ("GET", "/v1/audit"),
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
        body = {"state": "maintenance"} if method == "PATCH" else None
        answer = ask(app, method, path, "engineer", json=body)
        assert answer.status_code == (200 if path == "/healthz" else 403), f"{method} {path}"


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("operator", 403), ("processor", 403), ("engineer", 200)]
)
def test_only_an_engineer_changes_a_node(app, role, status):
    assert patch(app, {"state": "maintenance"}, role).status_code == status
    state = ask(app, "GET", "/v1/nodes/gas-1", "viewer").json()["state"]
    assert state == ("maintenance" if status == 200 else "active")


def test_liveness_says_nothing_else(app):
    assert ask(app, "GET", "/healthz").json() == {"status": "ok"}


def test_the_fleet_is_a_snapshot_of_the_contract(app):
    answer = ask(app, "GET", "/v1/fleet", "processor")
    fleet = FleetSnapshot.model_validate_json(answer.content)
    assert (fleet.revision, fleet.nodes[0].node_id, len(fleet.conditions)) == (1, "gas-1", 2)


def test_the_audit_log_names_the_principal(app):
    patch(app, {"state": "maintenance"})
    (entry,) = ask(app, "GET", "/v1/audit", "viewer", params={"limit": 1}).json()
    assert (entry["by"], entry["key"], entry["time_ns"]) == ("engineer", "gas-1", 2_000)


def test_a_refused_change_says_what_is_allowed(app):
    answer = patch(app, {"state": "planned"})
    assert answer.status_code == 409
    assert answer.json()["detail"] == "node gas-1 is active and cannot become planned, only maintenance, retired"


def test_an_unknown_node_is_404(app):
    assert patch(app, {"state": "retired"}, node_id="gas-7").status_code == 404
    assert ask(app, "GET", "/v1/nodes/gas-7", "viewer").status_code == 404


@pytest.mark.parametrize("body", [{}, {"state": "broken"}, {"state": "retired", "model": "x"}, [], None])
def test_a_bad_body_is_422_and_changes_nothing(app, body):
    assert patch(app, body).status_code == 422
    assert ask(app, "GET", "/v1/fleet", "viewer").json()["revision"] == 1


@pytest.mark.parametrize(
    "path",
    ["/v1/fleet?wait_s=31", "/v1/fleet?wait_s=nan", "/v1/fleet?known_revision=-1", "/v1/audit?limit=0", "/v1/nodes/A"],
)
def test_a_number_or_name_out_of_range_is_422(app, path):
    assert ask(app, "GET", path, "viewer").status_code == 422


@pytest.mark.parametrize("wait_s", [0, 0.05])
def test_a_known_revision_is_304_after_the_wait(app, wait_s):
    answer = ask(app, "GET", "/v1/fleet", "viewer", params={"known_revision": 1, "wait_s": wait_s})
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("known_revision", [0, 99])
def test_any_other_revision_gets_the_fleet_at_once(app, known_revision):
    params = {"known_revision": known_revision, "wait_s": 30}
    assert ask(app, "GET", "/v1/fleet", "viewer", params=params).json()["revision"] == 1


async def start_poll(client):
    params = {"known_revision": 1, "wait_s": 30}
    poll = asyncio.create_task(client.get("/v1/fleet", params=params, headers=token_of("processor")))
    done, _ = await asyncio.wait([poll], timeout=0.1)
    assert not done, "nothing changed yet, the poll must wait"
    return poll


def test_a_long_poll_wakes_when_a_node_changes(app):
    async def story(client):
        poll = await start_poll(client)
        await client.patch("/v1/nodes/gas-1", json={"state": "maintenance"}, headers=token_of("engineer"))
        return FleetSnapshot.model_validate_json((await asyncio.wait_for(poll, 5)).content)

    fleet = call(app, story)
    assert (fleet.revision, fleet.nodes[0].state) == (2, "maintenance")


def test_a_long_poll_wakes_when_another_process_imports(app, feed, place, example):
    async def story(client):
        watch = asyncio.create_task(feed.watch_store())
        poll = await start_poll(client)
        with Store(place) as other:
            changed = parse_fleet_file(example.replace("set_point = 25.0", "set_point = 20.0"), "x.toml")
            other.import_fleet(changed, "x.toml", "cli:test", 3_000)
        answer = await asyncio.wait_for(poll, 10)
        await feed.wake_waiters()
        await asyncio.wait_for(watch, 5)
        return answer.json()

    fleet = call(app, story)
    assert (fleet["revision"], fleet["conditions"][0]["set_point"]) == (2, 20.0)


def test_a_long_poll_is_answered_when_the_service_stops(app, feed):
    async def story(client):
        poll = await start_poll(client)
        await feed.wake_waiters()
        return (await asyncio.wait_for(poll, 5)).status_code

    assert call(app, story) == 304


def test_the_snapshot_is_built_once_per_revision(app, store, monkeypatch):
    built = []
    build = store.build_snapshot
    monkeypatch.setattr(store, "build_snapshot", lambda: built.append(1) or build())
    for _ in range(3):
        ask(app, "GET", "/v1/fleet", "viewer")
    patch(app, {"state": "maintenance"})
    for _ in range(3):
        assert ask(app, "GET", "/v1/fleet", "viewer").json()["revision"] == 2
    assert len(built) == 2


def test_a_store_that_does_not_take_it_is_503_and_nothing_is_kept(app, in_trouble):
    with in_trouble():
        answer = patch(app, {"state": "maintenance"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "lock" in answer.json()["detail"]
    assert ask(app, "GET", "/v1/nodes/gas-1", "viewer").json()["state"] == "active"
