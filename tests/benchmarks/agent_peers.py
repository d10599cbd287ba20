"""Peers of the edge agent, with the same devices and the same broker: thingsboard-gateway, and Node-RED with its Modbus
nodes.

Each is fetched once into a cache folder outside of the checkout, in the versions that `peers/` locks, and runs there
with the configuration that its documentation shows: one entry a register for thingsboard-gateway (it groups them as it
will), one read node a device for Node-RED, which asks for all 100 registers at once and scales and names them in a
function node.

What they do not do of the agent's work: neither has a durable spool here (thingsboard-gateway keeps readings in memory,
as its default is; Node-RED hands them to MQTT at once), neither marks quality, and nobody acknowledges what they send.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import venv
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from tests.benchmarks.agent_bench import DEVICES, ENDPOINTS, REGISTERS

PEERS: Final = Path(__file__).parent / "peers"
CACHE: Final = Path.home() / ".cache/citysense/bench-agent-peers"
STOP_WITHIN_S: Final = 15.0

RunPeer = Callable[[Path, int, int, float], "contextlib.AbstractContextManager[subprocess.Popen[bytes]]"]


class PeerUnavailableError(Exception):
    """The peer cannot be fetched here, or not run; the text says why."""


@contextlib.contextmanager
def run_thingsboard(
    folder: Path, modbus_port: int, mqtt_port: int, interval_s: float
) -> Iterator[subprocess.Popen[bytes]]:
    """thingsboard-gateway, which publishes `v1/gateway/telemetry` as it would to its platform."""
    python = fetch_thingsboard()
    config = folder / "thingsboard"
    config.mkdir()
    for name, document in thingsboard_documents(modbus_port, mqtt_port, interval_s).items():
        (config / name).write_text(json.dumps(document))
    environment = {"TB_GW_CONFIG_DIR": str(config), "TB_GW_LOGS_PATH": str(config)}
    with _running(
        folder, [python, "-c", "from thingsboard_gateway.tb_gateway import daemon; daemon()"], environment
    ) as p:
        yield p


@contextlib.contextmanager
def run_node_red(
    folder: Path, modbus_port: int, mqtt_port: int, interval_s: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Node-RED without its editor."""
    modules = fetch_node_red()
    user = folder / "node-red"
    user.mkdir()
    (user / "flows.json").write_text(json.dumps(node_red_flows(modbus_port, mqtt_port, interval_s)))
    settings = {"httpAdminRoot": False, "httpNodeRoot": False, "flowFile": "flows.json", "credentialSecret": False}
    settings |= {"telemetry": {"enabled": False}, "logging": {"console": {"level": "error"}}, "uiPort": 0}
    (user / "settings.js").write_text(f"module.exports = {json.dumps(settings)};\n")
    with _running(folder, ["node", str(modules / "node-red/red.js"), "--userDir", str(user)], {}) as process:
        yield process


PEER_RUNS: Final[Mapping[str, RunPeer]] = MappingProxyType(
    {"thingsboard-gateway 3.8.5": run_thingsboard, "Node-RED 4.1.8, modbus 5.23.3": run_node_red}
)


def fetch_thingsboard() -> str:
    """Its Python, with all that it needs. Raises PeerUnavailableError."""
    lock, place = PEERS / "thingsboard.txt", CACHE / "thingsboard"
    python = place / "bin/python"
    if not _is_fetched(place, lock):
        venv.create(place, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        _fetch([*pip, "--requirement", str(lock)], place, lock)
    return str(python)


def fetch_node_red() -> Path:
    """Its folder of modules. Raises PeerUnavailableError."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise PeerUnavailableError("node and npm are not there")
    lock, place = PEERS / "node-red/package-lock.json", CACHE / "node-red"
    if not _is_fetched(place, lock):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PEERS / "node-red" / name, place / name)
        _fetch(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], place, lock)
    return place / "node_modules"


def thingsboard_documents(modbus_port: int, mqtt_port: int, interval_s: float) -> dict[str, Any]:
    """Its configuration files. Its limits on what it may send are lifted: they are its platform's, not its own."""
    unlimited = dict.fromkeys(
        ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits"), "0:0,"
    )
    general = {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": mqtt_port,
            "remoteShell": False,
            "remoteConfiguration": False,
            "statistics": {"enable": False},
            "minPackSendDelayMS": 50,
            "minPackSizeToSend": 500,
            "maxPayloadSizeBytes": 65_000,
            "security": {"type": "accessToken", "accessToken": "bench"},
            "qos": 0,
            "deviceDpRateLimits": "0:0,",
        }
        | unlimited,
        "storage": {"type": "memory", "read_records_count": 1000, "max_records_count": 1_000_000},
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "bench", "configuration": "modbus.json"}],
    }
    tags = [
        {
            "tag": f"r{register}",
            "type": "16uint",
            "address": register,
            "objectsCount": 1,
            "functionCode": 3,
            "divider": 10,
        }
        for register in range(REGISTERS)
    ]
    devices = [
        {
            "host": "127.0.0.1",
            "port": modbus_port,
            "type": "tcp",
            "method": "socket",
            "unitId": device,
            "deviceName": f"d{device}",
            "timeout": 5,
            "byteOrder": "BIG",
            "wordOrder": "BIG",
            "retries": 1,
            "pollPeriod": round(interval_s * 1000),
            "timeseries": tags,
            "attributes": [],
            "attributeUpdates": [],
            "rpc": [],
        }
        for device in range(1, DEVICES + 1)
    ]
    logs = {"version": 1, "disable_existing_loggers": True, "root": {"level": "ERROR", "handlers": []}}
    return {"tb_gateway.json": general, "modbus.json": {"master": {"slaves": devices}}, "logs.json": logs}


def node_red_flows(modbus_port: int, mqtt_port: int, interval_s: float) -> list[dict[str, Any]]:
    """A read node and a function node a device, `ENDPOINTS` connections, one broker."""
    flows: list[dict[str, Any]] = [
        {"id": "tab", "type": "tab", "label": "bench"},
        {
            "id": "broker",
            "type": "mqtt-broker",
            "broker": "127.0.0.1",
            "port": mqtt_port,
            "clientid": "",
            "usetls": False,
        }
        | {"protocolVersion": 5, "keepalive": 60, "cleansession": True, "autoConnect": True},
        {"id": "out", "type": "mqtt out", "z": "tab", "topic": "", "qos": "0", "retain": "", "broker": "broker"}
        | {"wires": []},
    ]
    flows += [
        {"id": f"line{endpoint}", "type": "modbus-client", "clienttype": "tcp", "bufferCommands": True}
        | {"tcpHost": "127.0.0.1", "tcpPort": modbus_port, "tcpType": "DEFAULT", "unit_id": 1, "commandDelay": 1}
        | {"clientTimeout": 5000, "reconnectOnTimeout": True, "reconnectTimeout": 2000}
        | {"parallelUnitIdsAllowed": True}
        for endpoint in range(ENDPOINTS)
    ]
    for device in range(1, DEVICES + 1):
        body = (
            "const named = {}; for (let at = 0; at < msg.payload.length; at++) "
            "named['r' + at] = msg.payload[at] / 10; "
            f"return {{topic: 'peer/d{device}', payload: {{t: Date.now(), values: named}}}};"
        )
        flows.append(
            {"id": f"read{device}", "type": "modbus-read", "z": "tab", "topic": "", "unitid": str(device)}
            | {"dataType": "HoldingRegister", "adr": "0", "quantity": str(REGISTERS), "delayOnStart": False}
            | {"rate": str(round(interval_s * 1000)), "rateUnit": "ms", "server": f"line{(device - 1) % ENDPOINTS}"}
            | {"useIOFile": False, "showErrors": True, "wires": [[f"name{device}"], []]}
        )
        flows.append(
            {"id": f"name{device}", "type": "function", "z": "tab", "func": body, "outputs": 1, "wires": [["out"]]}
        )
    return flows


@contextlib.contextmanager
def _running(folder: Path, command: list[str], environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "peer.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _is_fetched(place: Path, lock: Path) -> bool:
    stamp = place / "fetched.lock"
    return stamp.exists() and stamp.read_text() == lock.read_text()


def _fetch(command: list[str], place: Path, lock: Path) -> None:
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise PeerUnavailableError(f"{command[0]}: {done.stderr.strip()[-300:] or done.stdout.strip()[-300:]}")
    (place / "fetched.lock").write_text(lock.read_text())
