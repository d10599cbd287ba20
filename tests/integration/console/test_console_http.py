"""The console process over HTTP: sign-in, the guard before every route, the stream, the stop."""

import itertools
import json
import signal
import stat
import threading
import time

import httpx
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Mount

from console.configuration import CitySettings
from console.desk import Desk
from console.live_hub import LiveHub
from console.session_store import SessionStore
from console.upstream_client import UpstreamClient
from console.web_app import build_app

OPEN = {("/healthz", "GET"), ("/login", "GET"), ("/login", "POST"), ("/static/console.css", "GET")}


def list_routes(tmp_path):
    """Every route that the application has, with an example in the place of each parameter."""
    upstream = UpstreamClient("nobody", "http://127.0.0.1:9", "token")
    store = SessionStore(tmp_path / "routes.sqlite")
    app = build_app(Desk(CitySettings(name="x"), LiveHub(), store, upstream, upstream, is_tls=False))
    found = []

    def collect(routes):
        for route in routes:
            if isinstance(route, Mount):
                found.append((f"{route.path}/console.css", "GET"))
            elif isinstance(route, APIRoute):
                found.extend((route.path, method) for method in route.methods)
            elif hasattr(route, "original_router"):
                collect(route.original_router.routes)
            else:
                raise AssertionError(f"an unknown kind of route: {route!r}")

    collect(app.routes)
    store.close()
    return found


def test_every_route_but_the_open_ones_needs_a_session(console, tmp_path):
    routes = list_routes(tmp_path)
    assert {("/", "GET"), ("/events", "GET"), ("/logout", "POST")} <= set(routes)
    assert set(routes) >= OPEN
    with console.client() as client:
        for path, method in [*routes, ("/no-such-path", "GET"), ("/openapi.json", "GET"), ("/docs", "GET")]:
            answer = client.request(method, path.replace("{channel_id}", "1").replace("{alarm_id}", "1"))
            if (path, method) in OPEN:
                assert answer.status_code in {200, 422}, (path, method)  # 422: an empty form
            elif path == "/":
                assert (answer.status_code, answer.headers["location"]) == (303, "/login")
            else:
                assert answer.status_code == 401, f"{method} {path} answers without a session"
                assert "gd-0001" not in answer.text


def test_every_post_needs_the_token_of_its_own_page(console, city, tmp_path):
    city.raise_alarm()
    with console.signed_in_client() as client:
        posts = [path for path, method in list_routes(tmp_path) if method == "POST" and path != "/login"]
        assert len(posts) >= 3
        for path in posts:
            for headers in ({"X-CSRF-Token": ""}, {"X-CSRF-Token": "0" * 64}, {"Sec-Fetch-Site": "cross-site"}):
                answer = client.post(path.replace("{alarm_id}", "1"), headers=headers)
                assert answer.status_code == 403, (path, headers)
        assert city.acknowledgements == []
        assert client.get("/").status_code == 200


def test_a_sign_in_form_of_another_site_is_refused(console):
    with console.client() as client:
        form = {"name": "Li Wei", "password": console.issue_password()}
        assert client.post("/login", data=form, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.post("/login", data=form).status_code == 303


def test_a_one_time_password_works_once_and_only_its_hash_is_kept(console):
    password = console.issue_password()
    with console.client() as client:
        spoken = password.upper().replace("-", " ")
        answer = client.post("/login", data={"name": "  Li   Wei ", "password": spoken})
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "Signed in as Li Wei" in client.get("/", headers={"Accept-Language": "en"}).text
        token = client.cookies["citysense_session"]
    with console.client() as client:
        answer = client.post("/login", data={"name": "Li Wei", "password": password})
        assert answer.status_code == 403
        assert "citysense_session" not in client.cookies
    kept = b"".join(path.read_bytes() for path in console.folder.glob("console.sqlite*"))
    assert len(kept) > 4_096
    for secret in (password, password.replace("-", ""), token):
        assert secret.encode() not in kept
        assert secret not in console.read_log()
    assert stat.S_IMODE((console.folder / "console.sqlite").stat().st_mode) == 0o600
    assert "event=signed_in address=127.0.0.1 user='Li Wei'" in console.read_log()
    assert "event=sign_in_failed" in console.read_log()


def test_a_named_password_is_for_that_person_only(console):
    password = console.issue_password("--name", "Zhang San")
    with console.client() as client:
        assert client.post("/login", data={"name": "Li Wei", "password": password}).status_code == 403
        assert client.post("/login", data={"name": "Zhang San", "password": password}).status_code == 303


def test_failed_sign_ins_are_slowed_down(console):
    with console.client() as client:
        answers = [client.post("/login", data={"name": "x", "password": f"wrong-{n}"}) for n in range(11)]
        assert [answer.status_code for answer in answers] == [403] * 10 + [429]
        assert 0 < int(answers[-1].headers["retry-after"]) <= 300
        good = client.post("/login", data={"name": "x", "password": console.issue_password()})
        assert good.status_code == 429


def test_a_session_survives_a_restart_and_ends_with_the_sign_out(console):
    with console.signed_in_client() as client:
        console.stop()
        console.start()
        client.base_url = console.url
        assert client.get("/").status_code == 200
        answer = client.post("/logout")
        assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/login")
        client.cookies.set("citysense_session", "anything")
        assert client.get("/").status_code == 303
    assert "event=signed_out user='Li Wei'" in console.read_log()


def test_an_open_stream_ends_soon_after_its_session(console):
    with console.signed_in_client() as client, client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: alarms"
        with httpx.Client(base_url=console.url, cookies=client.cookies, headers=client.headers) as other:
            assert other.post("/logout").status_code == 204
        began = time.monotonic()
        assert "event: signed_out" in list(lines)
        assert time.monotonic() - began < 6


def test_pages_forbid_inline_scripts_and_are_not_cached(console, city):
    with console.signed_in_client() as client:
        for path in ("/", "/login", "/fragments/channel/1"):
            answer = client.get(path)
            assert answer.headers["content-security-policy"].startswith("default-src 'self';")
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["cache-control"] == "no-store"
            assert "<script>" not in answer.text
            assert "style=" not in answer.text
        assert "Test &lt;city&gt;" in client.get("/").text


def test_the_stream_sends_what_changed_and_values_at_most_twice_a_second(console, city):
    with console.signed_in_client() as client:
        events = []
        stop = threading.Event()

        def report():
            while not stop.wait(0.05):
                city.report((1, {"value": 3.0}))

        reporting = threading.Thread(target=report)
        reporting.start()
        try:
            with client.stream("GET", "/events") as stream:
                began = time.monotonic()
                name = None
                for line in stream.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: ") and name == "values":
                        events.append((time.monotonic(), json.loads(line.removeprefix("data: "))))
                    if time.monotonic() - began > 4:
                        break
        finally:
            stop.set()
            reporting.join()
    times = [at for at, _ in events]
    assert 4 <= len(events) <= 8
    assert min(after - before for before, after in itertools.pairwise(times)) > 0.4
    assert {row[0] for _, rows in events[1:] for row in rows} == {1}


def test_a_hung_alarm_service_is_noticed(console, city, eventually):
    with console.signed_in_client() as client:
        assert "does not answer" not in client.get("/").text
        city.alarm_service.is_hung = True
        eventually(lambda: "Alarm service does not answer since" in client.get("/").text, "the banner", 12)
        city.alarm_service.is_hung = False
        eventually(lambda: "does not answer" not in client.get("/").text, "the banner goes", 15)


def test_no_answer_from_the_alarm_service_is_never_shown_as_no_alarms(console, city, eventually):
    with console.signed_in_client() as client:
        assert "No alarms" in client.get("/").text
        console.stop()
        city.alarm_service.stop()
        console.start()
        client.base_url = console.url
        page = client.get("/").text
        assert "Alarms unknown" in page
        assert "No alarms" not in page


def test_a_restarted_alarm_service_that_counts_anew_replaces_what_is_shown(console, city, eventually):
    with console.signed_in_client() as client:
        for number in range(1, 6):
            city.raise_alarm(alarm_id=number)
        eventually(lambda: 'data-alarm-id="5"' in client.get("/").text, "five alarms")
        city.alarms.clear()
        city.alarm_revision = 0
        city.raise_alarm(alarm_id=77)
        eventually(
            lambda: 'data-alarm-id="77"' in client.get("/").text and 'data-alarm-id="5"' not in client.get("/").text,
            "only the new service's alarm",
            12,
        )


def test_lost_broker_and_waiting_alarm_events_are_said(console, city, eventually):
    with console.signed_in_client() as client:
        city.is_broker_connected = False
        city.outbox_events = 4
        city.unscored_batches_total = 2
        eventually(lambda: "no connection to the broker" in client.get("/").text, "the broker's banner")
        assert "2 batches were stored without being checked for alarms" in client.get("/").text
        eventually(lambda: "4 alarm events wait since" in client.get("/").text, "the outbox's banner", 12)


def test_acknowledging_says_what_went_wrong(console, city):
    city.raise_alarm(alarm_id=1, state="normal", is_active=False)
    with console.signed_in_client() as client:
        answer = client.post("/alarms/1/acknowledge")
        assert answer.status_code == 409
        assert "normal already" in answer.text
        city.alarm_service.stop()
        answer = client.post("/alarms/1/acknowledge")
        assert answer.status_code == 502
        assert "NOT acknowledged" in answer.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_3_s_with_an_open_stream(console, number):
    with console.signed_in_client() as client, client.stream("GET", "/events") as stream:
        lines = stream.iter_lines()
        next(lines)
        code, seconds = console.stop(number)
        list(lines)
    assert code == 0, console.read_log()
    assert seconds < 3
    assert "Traceback" not in console.read_log()
