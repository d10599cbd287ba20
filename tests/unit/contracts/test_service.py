"""What all REST services share: loopback listeners, unique principals, the guard before every route."""

from __future__ import annotations

import asyncio
import json

import pytest

from contracts.access import Principal, Role, hash_token
from contracts.configuration import Settings, check_settings
from contracts.errors import ConfigurationError
from contracts.service import BearerGuard, HttpListener, Principals, is_loopback

VIEWER = Principal(name="v", role=Role.VIEWER, token_sha256=hash_token("secret"))


class Service(Settings):
    http: HttpListener
    principal: Principals


def faults(**changes):
    document = {"http": {"port": 1}, "principal": [VIEWER.model_dump()]} | changes
    with pytest.raises(ConfigurationError) as caught:
        check_settings(Service, document, "s.toml")
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("10.0.0.1", False), ("::", False), ("example.org", False), ("", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback_is_this_machine_alone(host, expected):
    assert is_loopback(host) is expected


def test_a_plaintext_listener_off_loopback_is_a_fault():
    assert faults(http={"host": "0.0.0.0", "port": 1}) == [
        "$.http.host: '0.0.0.0': not loopback: tokens must not travel in the clear, put a TLS proxy in front"
    ]


def test_nobody_who_may_call_two_of_one_name_and_two_of_one_token_are_faults():
    other = VIEWER.model_copy(update={"name": "w"}).model_dump()
    double = VIEWER.model_copy(update={"token_sha256": "0" * 64}).model_dump()
    assert "at least one [[principal]]" in faults(principal=[])[0]
    assert "token_sha256 must be unique" in faults(principal=[VIEWER.model_dump(), other])[0]
    assert "name must be unique" in faults(principal=[VIEWER.model_dump(), double])[0]


def call(path, headers=(), kind="http"):
    """What the guard does with a request: the status it sent, or the scope that reached the application."""
    reached, sent = [], []

    async def application(scope, receive, send):
        reached.append(scope)

    async def receive():
        raise AssertionError("the guard must not read the body")

    async def send(message):
        sent.append(message)

    guard = BearerGuard(application, [VIEWER])
    asyncio.run(guard({"type": kind, "path": path, "headers": list(headers)}, receive, send))
    return reached, sent


def test_without_a_known_token_nothing_reaches_the_application():
    for headers in ([], [(b"authorization", b"Bearer wrong")], [(b"authorization", b"Basic secret")], [(b"x", b"y")]):
        reached, sent = call("/anything", headers)
        assert reached == []
        assert sent[0]["status"] == 401
        assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
        assert "bearer token" in json.loads(sent[1]["body"])["detail"]


def test_a_known_token_passes_with_its_principal():
    reached, sent = call("/anything", [(b"authorization", b"Bearer secret")])
    assert reached[0]["state"]["principal"] == VIEWER
    assert sent == []


def test_liveness_and_what_is_no_request_pass():
    assert call("/healthz")[0]
    assert call("", kind="lifespan")[0]
    assert call("/healthz/more")[0] == []
