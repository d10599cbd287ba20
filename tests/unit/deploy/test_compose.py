"""`deploy/compose.yaml` and its image: the versions of `make stack`, no secret, command lines that the programs take.

No Docker is to be had where the tests run. That the file is valid by the schema of the Compose specification was seen
once, by hand (`schema/compose-spec.json` of compose-spec/compose-spec); here it is held against this checkout.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.stack import recipe

ROOT = Path(__file__).parents[3]
COMPOSE = (ROOT / "deploy/compose.yaml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROLES = ("bridge", "score", "store", "archive", "read")
EXAMPLES = {
    "broker": "broker_config/example.toml",
    "device-registry": "device_registry/example.toml",
    "alarm-service": "alarm_service/example.toml",
    "console": "console/example.toml",
    **{role: f"stream_processor/distributed/example-{role}.toml" for role in ROLES},
}
"""What a file in the city's folder is a copy of."""
SERVERS = {"mosquitto", "kafka", "influxdb", "postgresql", "grafana"}
SET_UPS = {"kafka-topics", "influxdb-buckets"}
WITHOUT_PORT = {"bridge", "score", "store", "archive"}


def blocks() -> dict[str, str]:
    """The text of each service, by its name."""
    text = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    names = [part for part in re.split(r"^  (?=[a-z][a-z-]*:\n)", text, flags=re.MULTILINE) if part.strip()]
    return {part.partition(":")[0]: part for part in names if re.match(r"[a-z]", part)}


BLOCKS = blocks()
PROGRAMS = sorted(set(BLOCKS) - SERVERS)


def command_of(name: str) -> list[str]:
    (command,) = re.findall(r"^    command: (\[.*?\])$", BLOCKS[name], re.MULTILINE | re.DOTALL)
    return json.loads(command)


def program(name: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a console script as the image has it."""
    module = PROJECT["scripts"][name].partition(":")[0]
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT)}
    )


def test_the_services_are_the_servers_the_programs_and_all_roles():
    assert set(BLOCKS) == SERVERS | SET_UPS | set(ROLES) | {"device-registry", "alarm-service", "console"}


def test_the_compose_file_starts_the_same_versions():
    images = dict(re.findall(r"^ +image: ([^:\s]+):(\S+)$", COMPOSE, re.MULTILINE))
    assert images["apache/kafka"] == recipe.KAFKA_VERSION
    assert images["influxdb"] == recipe.INFLUXDB_VERSION
    assert images["postgres"].split(".")[0] == str(recipe.POSTGRESQL_MAJOR)
    assert images["citysense/platform"] == PROJECT["version"]
    assert all(re.match(r"\d+\.\d+", tag) for tag in images.values()), "a tag without numbers is another one tomorrow"
    assert not any("." in image.partition("/")[0] for image in images), "no registry's host is named"


@pytest.mark.parametrize("name", BLOCKS)
def test_a_service_has_an_image_a_restart_policy_and_says_how_it_is_known_to_be_well(name):
    block = BLOCKS[name]
    assert ("\n    image: " in block) is (name in SERVERS)
    assert ("\n    <<: *program\n" in block) is (name not in SERVERS)
    assert "\n    restart: " in block or name not in SERVERS
    is_checked = "\n    healthcheck:\n      test: " in block
    assert is_checked is (name not in SET_UPS | WITHOUT_PORT)
    assert is_checked or "\n    healthcheck: {disable: true}" in block


def test_the_compose_file_has_no_password_and_opens_no_port_to_the_network():
    values = re.findall(r"^ +\w*(?:PASSWORD|TOKEN)\w*: (.*)$", COMPOSE, re.MULTILINE)
    assert values
    assert all(value.startswith(("${", "/run/secrets/")) and ":-" not in value for value in values), values
    ports = re.findall(r'^ +- "([^"]*:\d+)"$', COMPOSE, re.MULTILINE)
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports), ports
    assert "GF_SERVER_HTTP_ADDR: 127.0.0.1\n" in COMPOSE
    assert 'GF_AUTH_ANONYMOUS_ENABLED: "false"\n' in COMPOSE


def test_every_variable_is_explained_at_the_head_and_has_no_default():
    used = set(re.findall(r"\$\{(\w+)", COMPOSE))
    head = COMPOSE.partition("\nname: ")[0]
    assert {name for name in used if re.search(rf"^#   {name} ", head, re.MULTILINE)} == used
    assert ":-" not in COMPOSE


@pytest.fixture
def city(tmp_path: Path) -> Path:
    for name, example in EXAMPLES.items():
        (tmp_path / f"{name}.toml").write_text((ROOT / example).read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_command_line_is_one_that_its_program_takes(name, city):
    script, action, *options = command_of(name)
    told = program(script, action, "--help", folder=city)
    assert told.returncode == 0, told.stderr
    for option in (each for each in options if each.startswith("--")):
        assert f"{option} " in told.stdout, f"{script} {action} has no {option}"


def test_the_servers_have_the_options_of_make_stack():
    for option in recipe.KAFKA_OPTIONS:
        assert option in BLOCKS["kafka"]
    for variable in recipe.INFLUXDB_ENVIRONMENT:
        name, _, value = variable.partition("=")
        assert re.search(rf'^      {name}: "?{value}"?$', BLOCKS["influxdb"], re.MULTILINE)
    assert '      INFLUXD_PPROF_DISABLED: "true"\n' in BLOCKS["influxdb"]
    assert "--pprof-disabled" in recipe.INFLUXDB_OPTIONS


@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "influxdb-buckets"])
def test_the_shipped_example_is_a_configuration_for_the_command_line(name, city):
    script, action, *options = command_of(name)
    path = options[options.index("--config") + 1]
    assert path.startswith("/city/")
    role = ["--role", action] if action in ROLES else []
    checked = program(script, "check-config", *role, "--config", str(city / Path(path).name), folder=city)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(set(PROGRAMS) - SET_UPS - WITHOUT_PORT))
def test_a_service_is_asked_on_the_port_of_its_example(name):
    (asked,) = re.findall(r"http://127\.0\.0\.1:(\d+)/healthz", BLOCKS[name])
    assert tomllib.loads((ROOT / EXAMPLES[name]).read_text(encoding="utf-8"))["http"]["port"] == int(asked)


def test_what_is_made_ready_is_looked_for_where_the_servers_publish_it():
    kafka, influxdb = (f"127.0.0.1:{recipe.PREFERRED_PORTS[name]}" for name in (recipe.KAFKA, recipe.INFLUXDB))
    assert f'"{kafka}:' in BLOCKS["kafka"]
    assert f'"{influxdb}:' in BLOCKS["influxdb"]
    assert kafka in command_of("kafka-topics")
    assert f"http://{influxdb}" in command_of("influxdb-buckets")
    assert f"CITYSENSE_INFLUXDB: http://{influxdb}\n" in BLOCKS["grafana"]


def test_a_worker_waits_until_its_topics_are_there():
    # Faust ignores a topic that is missing at its start.
    for name in ROLES:
        assert "kafka-topics: {condition: service_completed_successfully}" in BLOCKS[name], name


def test_the_image_holds_every_package_of_the_wheel_and_what_is_locked():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    for package in wheel["wheel"]["packages"]:
        assert f"\nCOPY {package} /build/{package}\n" in DOCKERFILE
        assert f"\n!{package}\n" in (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert "--require-hashes --requirement /build/requirements/run.txt" in DOCKERFILE
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", bases.pop())
    assert not re.search(r"https?://", DOCKERFILE), "no registry's host"
    assert "\nUSER " in DOCKERFILE
