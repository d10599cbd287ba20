"""The console on the real alarm service and the real device registry, each a process of its own."""

import contextlib
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]
TOKENS = {"operator": "a-token-for-the-console", "processor": "a-token-for-a-processor"}
"""By role. The console's is the one that its stand-ins know too."""


@contextlib.contextmanager
def running(package, folder, port, eventually):
    """A service with an empty store; `import` first where there is a fleet."""
    config = folder / f"{package}.toml"
    principals = "".join(
        f'[[principal]]\nname = "{role}"\nrole = "{role}"\n'
        f'token_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
        for role, token in TOKENS.items()
    )
    config.write_text(f'[http]\nport = {port}\n[store]\npath = "{package}.sqlite"\n{principals}')
    command = [sys.executable, "-m", f"{package}.cli"]
    if package == "device_registry":
        fleet = ROOT / "device_registry" / "example_fleet.toml"
        subprocess.run([*command, "import", "--config", str(config), str(fleet)], cwd=ROOT, check=True)
    with (folder / f"{package}.log").open("ab") as log:
        process = subprocess.Popen([*command, "run", "--config", str(config)], cwd=ROOT, stdout=log, stderr=log)
        try:
            eventually(lambda: answers(port), f"{package} answers: see {log.name}")
            yield
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(10)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def condition_event(channel, node, state):
    now_ns = time.time_ns() // 1_000_000 * 1_000_000
    return {
        "event_id": hashlib.md5(f"{state}{now_ns}".encode()).hexdigest(), "condition_id": "gas-1-methane-high",
        "channel_id": channel["channel_id"], "state": state, "phenomenon_ns": now_ns, "detected_ns": now_ns,
        "value": 26.0, "input": "value", "input_value": 26.0, "set_point": 25.0, "priority": 1, "colour": "red",
        "title": "Methane above 25 %LEL", "gateway_id": node["gateway_id"], "node_id": node["node_id"],
        "site_id": node["site_id"], "district_id": "north", "quantity": "methane_lel", "unit": "%{LEL}",
    }  # fmt: skip


def test_an_alarm_of_the_real_services_is_shown_acknowledged_and_gone(city, console, tmp_path, eventually):
    city.alarm_service.stop()
    city.registry.stop()
    post = {"headers": {"Authorization": f"Bearer {TOKENS['processor']}"}, "trust_env": False}
    with (
        running("alarm_service", tmp_path, city.alarm_service.port, eventually),
        running("device_registry", tmp_path, city.registry.port, eventually),
        console.signed_in_client() as client,
    ):
        eventually(lambda: "Pressure regulating station 1" in client.get("/").text, "the real registry's fleet", 15)
        fleet = httpx.get(f"{city.registry.url}/v1/fleet", **post).json()
        channel = next(row for row in fleet["channels"] if row["node_id"] == "gas-1")
        node = next(row for row in fleet["nodes"] if row["node_id"] == "gas-1")
        eventually(lambda: "No alarms" in client.get("/").text, "the real alarm service answers", 15)

        conditions = f"{city.alarm_service.url}/v1/conditions"
        active = {"events": [condition_event(channel, node, "active")]}
        assert httpx.post(conditions, json=active, **post).json()["accepted"] == 1
        page = eventually(lambda: has(client, 'data-alarm-state="unacknowledged"'), "the alarm is shown", 3)
        alarm_id = page.partition('data-alarm-id="')[2].partition('"')[0]
        assert client.post(f"/alarms/{alarm_id}/acknowledge").status_code == 200
        page = eventually(lambda: has(client, 'data-alarm-state="acknowledged"'), "it is acknowledged", 3)
        assert "acknowledged by Li Wei" in page
        normal = {"events": [condition_event(channel, node, "normal")]}
        assert httpx.post(conditions, json=normal, **post).json()["accepted"] == 1
        eventually(lambda: "No alarms" in client.get("/").text, "it left the list", 3)
        assert client.post(f"/alarms/{alarm_id}/acknowledge").status_code == 409


def has(client, text):
    page = client.get("/").text
    return page if text in page else None
