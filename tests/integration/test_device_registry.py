"""The real device registry: its command line, imports beside a running service, its stop."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from contracts.access import hash_token
from tests.running_postgresql import running_postgresql

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "device_registry.cli"]
DEADLINE_S = 20.0


class Service:
    """A running device registry, killed at the end if the test did not stop it."""

    def __init__(self, config):
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--config", str(config)], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.log = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()
        if not self._listening.wait(DEADLINE_S):
            self.kill()
            raise AssertionError(f"the service does not listen: {self.log}")
        self.client = httpx.Client(base_url=self.address, timeout=DEADLINE_S)

    def _read_log(self):
        for line in self.process.stderr:
            self.log.append(line)
            if match := re.search(r"event=listening host=(\S+) port=(\d+)", line):
                self.address = f"http://{match[1]}:{match[2]}"
                self._listening.set()
        self._listening.set()

    def get(self, path, **params):
        return self.client.get(path, params=params, headers={"Authorization": "Bearer engineer"})

    def patch(self, state):
        headers = {"Authorization": "Bearer engineer"}
        return self.client.patch("/v1/nodes/gas-1", json={"state": state}, headers=headers)

    def kill(self):
        self.process.kill()
        self.wait()

    def stop(self, number=signal.SIGTERM):
        started = time.monotonic()
        self.process.send_signal(number)
        self.wait()
        return self.process.returncode, time.monotonic() - started

    def wait(self):
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        self.process.stderr.close()


def write_configuration(path, store='path = "data/fleet.sqlite"', port=0):
    path.write_text(
        f"[http]\nport = {port}\n[store]\n{store}\n"
        f'[[principal]]\nname = "engineer"\nrole = "engineer"\ntoken_sha256 = "{hash_token("engineer")}"\n'
    )
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs_postgresql)])
def config(request, tmp_path):
    path = tmp_path / "device-registry.toml"
    if request.param == "sqlite":
        yield write_configuration(path)
        return
    server = request.getfixturevalue("postgresql_server")
    url = server.make_database("registry_process")
    yield write_configuration(path, f'url = "{url}"\npassword_file = "{server.password_file}"')
    server.drop_database("registry_process")


@pytest.fixture
def fleet(tmp_path):
    path = tmp_path / "fleet.toml"
    shutil.copy(ROOT / "device_registry" / "example_fleet.toml", path)
    return path


@pytest.fixture
def import_fleet(config, fleet):
    def run_import(*options):
        command = [*COMMAND, "import", "--config", config, fleet, *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    return run_import


@pytest.fixture
def start(config):
    services = []

    def start_service():
        services.append(Service(config))
        return services[-1]

    yield start_service
    for service in services:
        if service.process.poll() is None:
            service.kill()
        service.client.close()


def test_an_import_says_what_it_changed_and_again_that_there_is_nothing(import_fleet, fleet):
    first, again = import_fleet(), import_fleet()
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == (
        f"{fleet}: revision 0 → 1: district added 1, site added 1, gateway added 1, node added 1,"
        " channel added 1, condition added 2\n"
    )
    assert again.stdout == f"{fleet}: revision 1: nothing to change\n"


def test_a_running_service_notices_an_import(start, import_fleet, fleet):
    service = start()
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(service.get("/v1/fleet", known_revision=0, wait_s=20)))
    waiter.start()
    assert import_fleet().returncode == 0
    imported_s = time.monotonic()
    waiter.join(DEADLINE_S)
    assert time.monotonic() - imported_s < 5, "an import must be seen within a second or so"
    assert answers[0].json()["revision"] == 1
    assert answers[0].json()["channels"] == [{"channel_id": 1, "node_id": "gas-1", "quantity": "methane_lel"}]


def test_scores_of_a_channel_are_imported_and_told(start, import_fleet, fleet):
    import_fleet()
    fleet.write_text(fleet.read_text().replace("# scores", "scores"))
    assert import_fleet().stdout == f"{fleet}: revision 1 → 2: channel changed 1\n"
    service = start()
    assert [channel["scores"] for channel in service.get("/v1/fleet").json()["channels"]] == [["score_novelty"]]
    assert service.get("/v1/audit", limit=2).json()[1]["detail"] == "scores: None → ['score_novelty']"


def test_a_faulty_file_names_every_fault_and_imports_nothing(start, import_fleet, fleet):
    assert import_fleet().returncode == 0
    text = fleet.read_text().replace("set_point = 25.0", "set_point = 2500.0").replace("priority = 4", "priority = 7")
    fleet.write_text(text.replace('name = "North district"', 'name = "Changed"'))
    refused = import_fleet()
    assert (refused.returncode, refused.stdout) == (2, "")
    assert [line.split(": ")[:2] for line in refused.stderr.splitlines()] == [
        [str(fleet), "$.node[0].channel[0].condition[1].priority"],
        [str(fleet), "$.node[0].channel[0].condition[0].set_point"],
    ]
    now = start().get("/v1/fleet").json()
    assert (now["revision"], now["districts"][0]["name"]) == (1, "North district")


def test_what_vanishes_from_the_file_is_retired_only_when_asked(start, import_fleet, fleet):
    import_fleet()
    second = """
[[node]]
node_id = "gas-2"
gateway_id = "gw-north-1"
bus_id = "rs485-1"
site_id = "gas-station-1"
model = "honeywell_sensepoint_xrl"
[[node.channel]]
quantity = "methane_lel"
"""
    whole = fleet.read_text()
    fleet.write_text(whole + second)
    import_fleet()
    fleet.write_text(whole)
    refused = import_fleet()
    assert refused.returncode == 2
    assert "--retire-missing would retire it" in refused.stderr
    assert import_fleet("--retire-missing").returncode == 0
    now = start().get("/v1/fleet").json()
    assert {node["node_id"]: node["state"] for node in now["nodes"]} == {"gas-1": "active", "gas-2": "retired"}
    assert [channel["channel_id"] for channel in now["channels"]] == [1]


def test_a_state_change_survives_a_kill_and_the_next_import(start, import_fleet):
    import_fleet()
    service = start()
    assert service.patch("maintenance").status_code == 200
    service.kill()
    assert "nothing to change" in import_fleet().stdout
    survivor = start()
    assert survivor.get("/v1/nodes/gas-1").json()["state"] == "maintenance"
    assert survivor.get("/v1/audit", limit=1).json()[0]["by"] == "engineer"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_waiting_long_poll_does_not_delay_the_stop(start, import_fleet, number):
    import_fleet()
    service = start()
    answers = []
    waiter = threading.Thread(
        target=lambda: answers.append(service.get("/v1/fleet", known_revision=1, wait_s=30).status_code)
    )
    waiter.start()
    time.sleep(0.3)
    returncode, took_s = service.stop(number)
    waiter.join(DEADLINE_S)
    assert (returncode, answers) == (0, [304]), service.log
    assert took_s < 3.0
    assert not any("Traceback" in line for line in service.log)


def test_check_config_says_ok_or_names_every_fault(config, tmp_path):
    sound = subprocess.run([*COMMAND, "check-config", "--config", config], cwd=ROOT, capture_output=True, text=True)
    assert (sound.returncode, sound.stdout, sound.stderr) == (0, f"{config}: ok\n", "")
    faulty = tmp_path / "faulty.toml"
    faulty.write_text("[http]\nport = -1\n[store]\npth = 'x'\n")
    refused = subprocess.run([*COMMAND, "check-config", "--config", faulty], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert {line.split(": ")[1] for line in refused.stderr.splitlines()} == {
        "$.http.port",
        "$.store.pth",
        "$.principal",
    }


def test_a_configuration_that_is_not_there_is_a_fault(tmp_path):
    absent = tmp_path / "absent.toml"
    refused = subprocess.run([*COMMAND, "run", "--config", absent], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert f"{absent}: $: cannot be read" in refused.stderr


def test_a_port_that_is_taken_is_said_in_one_line(start, config):
    service = start()
    port = service.address.rpartition(":")[2]
    other = write_configuration(config.with_name("other.toml"), 'path = "other/fleet.sqlite"', port)
    refused = subprocess.run([*COMMAND, "run", "--config", other], cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "device-registry: [Errno 98]" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_version_is_told():
    told = subprocess.run([*COMMAND, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert re.fullmatch(r"device-registry (0\.1\.0|0\+unknown)\n", told.stdout)


@pytest.mark.needs_postgresql
def test_a_registry_goes_on_by_itself_when_its_killed_database_is_back(tmp_path, fleet):
    with running_postgresql() as server:
        store = f'url = "{server.make_database("registry")}"\npassword_file = "{server.password_file}"'
        config = write_configuration(tmp_path / "device-registry.toml", store)
        server.kill()
        service = Service(config)  # before its database is there
        try:
            answer = service.get("/v1/fleet")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert "the registry cannot be read or written now" in answer.json()["detail"]
            command = [*COMMAND, "import", "--config", config, fleet]
            refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            assert refused.returncode == 1
            assert "cannot be read or written now" in refused.stderr
            server.start()
            assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True).returncode == 0
            assert until_answered(service, "/v1/fleet", known_revision=0, wait_s=20).json()["revision"] == 1
            server.kill()
            assert service.patch("maintenance").status_code == 503
            assert service.get("/v1/fleet").json()["revision"] == 1, "the kept snapshot is told all the same"
            server.start()
            assert until_answered(service, "/v1/nodes/gas-1").json()["state"] == "active"
            assert service.patch("maintenance").status_code == 200
            assert service.process.poll() is None
            assert service.stop()[0] == 0
        finally:
            if service.process.poll() is None:
                service.kill()
            service.client.close()


@pytest.mark.needs_postgresql
def test_a_second_registry_on_the_database_says_who_holds_it_and_ends(postgresql_server, tmp_path):
    url = postgresql_server.make_database("registry_held")
    store = f'url = "{url}"\npassword_file = "{postgresql_server.password_file}"'
    config = write_configuration(tmp_path / "device-registry.toml", store)
    service = Service(config)
    try:
        refused = subprocess.run([*COMMAND, "run", "--config", config], cwd=ROOT, capture_output=True, text=True)
        assert refused.returncode == 1
        assert f"process {service.process.pid} (from 127.0.0.1" in refused.stderr
        assert "Traceback" not in refused.stderr
    finally:
        service.kill()
        service.client.close()


def until_answered(service, path, **params):
    """Asks again while the answer is 503, as every reader does."""
    end_s = time.monotonic() + DEADLINE_S
    while (answer := service.get(path, **params)).status_code == 503:
        assert time.monotonic() < end_s, answer.text
        time.sleep(0.05)
    return answer
