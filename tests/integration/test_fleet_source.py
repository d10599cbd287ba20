"""A processor's fleet when the registry tells what it does not understand: the flow goes on with the last one."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stream_processor import registry_to_fleet
from stream_processor.configuration import UpstreamSettings
from stream_processor.registry_to_fleet import FleetSource
from stream_processor.upstream_client import UpstreamClient

DEADLINE_S = 20.0
GATEWAY = {"gateway_id": "gw", "district_id": "north", "name": "Cabinet"}


def fleet_of(revision, **gateway):
    return {
        "revision": revision,
        "districts": [{"district_id": "north", "name": "North"}],
        "gateways": [GATEWAY | gateway],
    }


class Registry(ThreadingHTTPServer):
    """Answers with one of `fleets` after another, then with the last."""

    fleets: list[dict[str, object]]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        fleets = self.server.fleets
        body = json.dumps(fleets.pop(0) if len(fleets) > 1 else fleets[0]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    with Registry(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def settings(registry, tmp_path):
    (tmp_path / "token").write_text("token")
    return UpstreamSettings(url=f"http://127.0.0.1:{registry.server_port}", token_file=tmp_path / "token")


def test_a_fleet_of_a_later_version_neither_ends_a_processor_nor_keeps_it_from_starting(
    registry, settings, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(registry_to_fleet, "RETRY_S", 0.02)
    of_later = fleet_of(2, colour="green")

    async def follow():
        taken = asyncio.Queue()
        async with UpstreamClient(settings) as client, asyncio.timeout(DEADLINE_S):
            registry.fleets = [fleet_of(1), of_later, of_later, fleet_of(3)]
            source = FleetSource(client, tmp_path / "fleet.json")
            assert (await source.first()).revision == 1
            async with asyncio.TaskGroup() as group:
                following = group.create_task(source.run(taken.put_nowait))
                assert (await taken.get()).revision == 3
                following.cancel()
            registry.fleets = [of_later]
            assert (await FleetSource(client, tmp_path / "fleet.json").first()).revision == 3, "the one on disk"

    asyncio.run(follow())
    faults = [record.getMessage() for record in caplog.records if "registry_unavailable" in record.getMessage()]
    assert len(faults) == 3
    assert all("is no FleetSnapshot of this version: gateways.0.colour: Extra inputs" in fault for fault in faults)
