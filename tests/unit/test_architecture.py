"""The two hard rules of the code, held by reading it: imports go one way, and what decides is pure.

A module is pure or a shell. A shell owns a socket, a file, a loop, a process, a log or a clock, decides nothing, and
stands in SHELLS below with what it is for. Everything else is pure: the same input gives the same output, without any
server. Source: shared/design/design.md, section 3; shared/design/style.md.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DESIGN = ROOT.parent / "shared/design/design.md"

LAYOUT = {
    "contracts",
    "edge_agent",
    "broker_config",
    "stream_processor",
    "alarm_service",
    "device_registry",
    "console",
    "simulators",
    "grafana",
    "deploy",
    "tests",
    "docs",
}
"""The folders of design.md, section 3."""
BESIDE_LAYOUT = {"requirements"}
"""Folders that the design does not name: the locked dependencies."""
NOT_KEPT = {"build", "dist", "node_modules"}
"""What building leaves behind; .gitignore names it."""

EXTRAS = {
    # package: the extras of pyproject.toml that are installed where it runs
    "contracts": (),
    "edge_agent": ("agent",),
    "simulators": ("simulators",),
    "broker_config": ("platform", "embedded-broker"),
    "stream_processor": ("platform",),
    "alarm_service": ("platform",),
    "device_registry": ("platform",),
    "console": ("platform",),
    "grafana": ("platform",),
    "deploy": ("platform", "embedded-broker"),
}
DEVELOPMENT_ONLY = {"grafana": {"grafana_foundation_sdk"}}
"""Import names of the development group, for a package of which no code runs on the platform."""
PLATFORM_CONTRACTS = {
    "contracts.arrow_layout", "contracts.record", "contracts.record_message", "contracts.score_columns",
    "contracts.waveform_message",
}  # fmt: skip
"""Modules of contracts that need the platform's weight (numpy): an agent never imports them."""
PLATFORM_SIMULATORS = {
    "simulators.check_load", "simulators.labelled_scenario", "simulators.load_connection", "simulators.load_gateway",
    "simulators.load_ledger", "simulators.load_report", "simulators.load_signal", "simulators.load_spool",
    "simulators.read_scored", "simulators.run_load", "simulators.sparkplug_template",
}  # fmt: skip
"""Modules of `city-simulator load` and `load-check`, which run beside the platform."""
NEVER_ON_A_GATEWAY = {"numpy", "pyarrow", "duckdb", "fastapi", "starlette", "uvicorn", "httpx", "jinja2", "aiomqtt"}
COMES_WITH = {"pydantic_core": "pydantic", "starlette": "fastapi", "urllib3": "influxdb_client"}
"""Import names of distributions that a declared one brings and whose own interface is part of using it."""

IMPURE = {
    "aiokafka", "aiomqtt", "amqtt", "anyio", "asyncio", "atexit", "concurrent", "duckdb", "fastapi", "faust", "fcntl",
    "ftplib", "getpass", "http.client", "http.server", "httpx", "importlib.resources", "influxdb_client", "iotcore",
    "logging", "mmap", "multiprocessing", "os", "paho", "psutil", "psycopg", "pty", "pyarrow.parquet", "pymodbus",
    "random", "resource", "secrets", "select", "selectors", "serial", "shelve", "shutil", "signal", "smtplib", "socket",
    "socketserver", "sqlalchemy", "sqlite3", "ssl", "starlette", "subprocess", "syslog", "tempfile", "termios",
    "threading", "time", "tty", "urllib.request", "urllib3", "uvicorn",
}  # fmt: skip
"""Modules that reach out of the process, or to its clock, its threads or its chance."""
DETERMINISTIC = {"random.Random"}
"""A generator that is seeded or passed in gives the same output for the same input."""
ONLY_IN_CLI = {"argparse", "sys"}
IMPURE_CALLS = {"open", "print", "input", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
IMPURE_METHODS = {"uuid1", "uuid4"}
PATH_METHODS = {
    "chmod", "cwd", "exists", "expanduser", "glob", "home", "is_dir", "is_file", "iterdir", "mkdir", "open",
    "read_bytes", "read_text", "replace", "resolve", "rglob", "rmdir", "stat", "touch", "unlink", "write_bytes",
    "write_text",
}  # fmt: skip
"""A pure module may import pathlib for a type or to join a path; these methods touch the disk."""
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "misc"}

SHELLS: dict[str, str] = {
    "alarm_service.change_signal": "wakes long polls when an alarm changed",
    "alarm_service.cli": "the command line; runs the service until a signal",
    "alarm_service.database": "one connection to the journal's SQLite file or PostgreSQL database",
    "alarm_service.desk": "hands work from the event loop to the journal's thread",
    "alarm_service.http_api": "serves HTTP",
    "alarm_service.journal": "alarms and their journal in SQLite or PostgreSQL",
    "alarm_service.kafka_to_journal": "reads condition events from Kafka into the journal",
    "broker_config.cli": "the command line; writes a broker's files",
    "broker_config.set_up_influxdb": "makes buckets and tasks on an InfluxDB server",
    "broker_config.set_up_influxdb_1": "asks and changes an InfluxDB 1.8",
    "broker_config.set_up_influxdb_3": "asks and changes an InfluxDB 3",
    "broker_config.set_up_kafka": "makes topics on a Kafka cluster",
    "console.cli": "the command line",
    "console.desk": "what the routes have at hand: services, store, clock",
    "console.live_hub": "wakes open pages when the state changed",
    "console.live_routes": "serves server-sent events",
    "console.page_routes": "serves the pages",
    "console.session_guard": "the gate before every route",
    "console.session_store": "sign-ins in SQLite",
    "console.sign_in_routes": "serves sign-in and sign-out",
    "console.upstream_client": "asks the REST APIs of the other services",
    "console.upstream_polling": "one endless task for each source",
    "console.web_app": "puts guard, routes and static files together",
    "console.web_server": "runs page and polling until a signal",
    "deploy.cli": "the command line of the demonstration city",
    "deploy.prepare_run": "makes the run directory: lock, secrets, ports, files",
    "deploy.probe": "asks whether a program is ready",
    "deploy.stack.build_influxdb": "builds InfluxDB from its Go module",
    "deploy.stack.build_influxdb_1": "compiles InfluxDB 1.8 for tests",
    "deploy.stack.cli": "the command line of the real servers",
    "deploy.stack.fetch_kafka": "fetches Kafka's jars and checks them",
    "deploy.stack.find_servers": "finds servers that are installed or in the cache",
    "deploy.stack.go_program": "builds a program from its Go module, once on a machine",
    "deploy.stack.prepare_servers": "makes a run directory ready for the servers, and them for their users",
    "deploy.stack.server_cache": "the cache of fetched and built servers",
    "deploy.stack.start_servers": "starts the servers beside the broker for `citysense run --stack`",
    "deploy.supervise": "starts, restarts and stops programs",
    "deploy.tether": "ends a program when its supervisor is gone",
    "device_registry.cli": "the command line; runs the service until a signal",
    "device_registry.database": "one connection to the registry's SQLite file or PostgreSQL database",
    "device_registry.http_api": "serves HTTP",
    "device_registry.snapshot_feed": "the newest snapshot for everybody who waits for it",
    "device_registry.store": "the fleet and its audit log in SQLite or PostgreSQL",
    "edge_agent.cli": "the command line",
    "edge_agent.commands.decode_command": "the command decode: reads files and standard input, prints",
    "edge_agent.commands.decode_options": "the options of the command decode",
    "edge_agent.commands.read_listening": "listens until each station was heard once, and prints what came",
    "edge_agent.commands.read_logger": "polls a logger until it has given a whole second",
    "edge_agent.commands.read_once": "reads every device once, for the engineer on the spot",
    "edge_agent.commands.scan_line": "looks for devices on a line",
    "edge_agent.commands.scan_options": "the options of the command scan",
    "edge_agent.commands.watch_lines": "the live table in a terminal",
    "edge_agent.drivers": "the registry of the drivers",
    "edge_agent.drivers.listen_serial": "a serial port whose station speaks when it wants to",
    "edge_agent.drivers.listen_tcp": "a TCP server that stations call",
    "edge_agent.drivers.modbus_exchange": "one Modbus request and its answer",
    "edge_agent.drivers.modbus_frames": "Modbus frames, by pymodbus",
    "edge_agent.drivers.modbus_rtu": "an RS-485 line",
    "edge_agent.drivers.modbus_tcp": "a Modbus TCP endpoint",
    "edge_agent.drivers.serial_frame": "a serial port",
    "edge_agent.drivers.serial_link": "a serial port with a thread of its own",
    "edge_agent.drivers.tcp_link": "a TCP connection",
    "edge_agent.feed_watchdog": "feeds systemd's watchdog",
    "edge_agent.lines.build_poller": "puts the poller of a bus together",
    "edge_agent.lines.line_state": "whether a line is up, logged once when it changes",
    "edge_agent.lines.listen_bus": "listens on one bus for ever",
    "edge_agent.lines.poll_bus": "polls one bus for ever",
    "edge_agent.lines.run_lines": "the lines that run, each by a task of its own",
    "edge_agent.modbus.store_limits": "the file that keeps what devices refuse",
    "edge_agent.outputs.audit_log": "who switched what, when and why, in a file",
    "edge_agent.outputs.field_control": "carries out writes to declared actuators",
    "edge_agent.outputs.field_side": "puts together all that acts on the field",
    "edge_agent.outputs.keep_alarms": "the file that keeps the state of local alarms",
    "edge_agent.outputs.switch_outputs": "switches local outputs",
    "edge_agent.run_agent": "the event loop and the threads of the agent",
    "edge_agent.settings.ask_planner": "starts the planning process and takes its plan",
    "edge_agent.settings.configuration_versions": "versions of the configuration on disk",
    "edge_agent.settings.keep_configuration": "which version runs, and the way back",
    "edge_agent.settings.load_profiles": "reads the profiles that come with the package",
    "edge_agent.settings.plan_process": "the process that plans, and ends",
    "edge_agent.settings.reread_configuration": "rereads the configuration on command",
    "edge_agent.spool.commit_readings": "collects readings, commits them, hands them to the uplink",
    "edge_agent.spool.replace_spool": "another spool file in place of one that cannot be trusted",
    "edge_agent.spool.spool_status": "looks into a spool beside a running agent",
    "edge_agent.spool.spool_thread": "the spool in a thread of its own",
    "edge_agent.spool.store_readings": "the spool in SQLite",
    "edge_agent.spool.thin_spool": "makes room in the spool before it is full",
    "edge_agent.systemd_notify": "systemd's socket",
    "edge_agent.task_set": "tasks that come and go",
    "edge_agent.uplink.broker_link": "opens connections to the broker that is next",
    "edge_agent.uplink.mqtt_connection": "one MQTT connection",
    "edge_agent.uplink.obey_host": "carries out the host's commands that take time",
    "edge_agent.uplink.publish_batches": "carries out what session and schedule decide",
    "edge_agent.uplink.tls_context": "TLS to the broker, with its certificate files",
    "grafana.build_dashboards": "writes the dashboards and data sources that Grafana reads",
    "simulators.check_load": "compares a load's ledger with Parquet, InfluxDB or Kafka",
    "simulators.cli": "`city-simulator`: field devices of a city that does not exist, faults in them, and ledgers.",
    "simulators.load_cli": "the words `load` and `load-check`",
    "simulators.load_connection": "one MQTT connection of a load",
    "simulators.load_ledger": "the ledger of a load in SQLite",
    "simulators.pseudo_terminal": "a pseudo-terminal that stands for a serial port",
    "simulators.read_instruments": "reads the instruments that come with the package",
    "simulators.read_scored": "reads what the score job wrote to Kafka",
    "simulators.run_field": "runs the field devices until a signal",
    "simulators.run_load": "runs a load: clock, connections, signals",
    "simulators.run_sector": "runs a station that calls, or an instrument on a pseudo-terminal, and shows what is said",
    "simulators.sector_cli": "the words `hj212`, `gb26875` and `instrument`",
    "simulators.serve_control": "the control socket",
    "simulators.serve_modbus_tcp": "serves a field bus over Modbus TCP",
    "simulators.serve_serial": "serves field buses on pseudo-terminals",
    "simulators.served_ledger": "a file with a line for each reading that left",
    "simulators.spool_ledger": "looks into an agent's spool as an independent witness",
    "stream_processor.bounded_channel": "the in-process channel between bridge and job",
    "stream_processor.change_signal": "wakes long polls when something changed",
    "stream_processor.channel_to_store": "the job: takes from the channel, commits, acknowledges",
    "stream_processor.cli": "the command line",
    "stream_processor.distributed.archive_handler": "what every archive job does with its disk and the fleet",
    "stream_processor.distributed.archive_process": "the archive job: from Kafka to Parquet",
    "stream_processor.distributed.bridge_process": "the bridge: a broker's gateways to Kafka, until a signal",
    "stream_processor.distributed.channel_to_kafka": "writes what was gathered to Kafka",
    "stream_processor.distributed.commands_to_mqtt": "publishes what jobs have to say to gateways",
    "stream_processor.distributed.faust_consumer": "Faust's consumer: runs of messages, durable offsets",
    "stream_processor.distributed.faust_job": "runs a job as a Faust worker, until a signal",
    "stream_processor.distributed.follow_topics": "keeps the read process up to date from Kafka",
    "stream_processor.distributed.kafka_compression": "sets how hard aiokafka compresses",
    "stream_processor.distributed.kafka_producer": "writes to Kafka",
    "stream_processor.distributed.parquet_archive": "journals and closed Parquet files of the archive",
    "stream_processor.distributed.read_process": "the read API over Kafka and InfluxDB, until a signal",
    "stream_processor.distributed.rebuild_process": "refills InfluxDB from the archive",
    "stream_processor.distributed.restore_partition": "reads snapshot and log of a partition from Kafka",
    "stream_processor.distributed.score_process": "the score job: states, fleet, what is written to Kafka",
    "stream_processor.distributed.store_process": "the store job: InfluxDB, then acknowledgements",
    "stream_processor.distributed.wait_for_topics": "waits for Kafka's topics before anything is written",
    "stream_processor.distributed.watch_progress": "asks Kafka what is committed; ends a wedged process",
    "stream_processor.distributed.waveform_archive": "journals of waveforms in SQLite, and their Parquet files",
    "stream_processor.distributed.waveform_process": "the archive of waveforms as a job",
    "stream_processor.duckdb_store": "the hot store in DuckDB",
    "stream_processor.embedded": "bridge, job, store, outbox and read API in one process",
    "stream_processor.export_range": "ranges of commits on their way from the hot store to Parquet files",
    "stream_processor.foreign_cancellation": "looks at the running task",
    "stream_processor.http_api": "serves HTTP",
    "stream_processor.influx_reader": "asks InfluxDB over HTTP",
    "stream_processor.influx_sink": "writes bodies of lines to InfluxDB",
    "stream_processor.lean_connection": "short cuts past aiomqtt and paho for what comes and goes in thousands",
    "stream_processor.mqtt_to_channel": "the bridge: a Sparkplug host on the broker",
    "stream_processor.outbox_to_alarm_service": "tells condition events to the alarm service",
    "stream_processor.parquet_export": "writes Parquet files",
    "stream_processor.parquet_file": "writes one Parquet file",
    "stream_processor.refit_forest": "refits isolation forests in a process beside the job",
    "stream_processor.registry_to_fleet": "fetches the fleet snapshot and keeps it on disk",
    "stream_processor.serve_http": "the read API's listening socket",
    "stream_processor.trial.arguments": "the command line of trials",
    "stream_processor.trial.csv_table": "reads CSV files that people have",
    "stream_processor.trial.parquet_table": "reads Parquet files that people have",
    "stream_processor.trial.score_file": "writes the table of scores, whole or not at all",
    "stream_processor.trial.stored_history": "reads the archive's Parquet files",
    "stream_processor.trial.table_file": "reads CSV and Parquet files that people have",
    "stream_processor.trial.try_rule": "runs `backtest`: reads and writes files, prints",
    "stream_processor.trial.try_scores": "runs `score FILE`: reads and writes files, prints",
    "stream_processor.upstream_client": "calls the registry and the alarm service",
    "stream_processor.waveform_export": "moves waveforms from the hot store into Parquet",
}
"""Every module that is not pure, and what it is for."""


@dataclass(frozen=True)
class Import:
    """A module, or `module.name`, that a file imports, and the line."""

    target: str
    line: int


@dataclass(frozen=True)
class Module:
    """A source file of a package."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def is_cli(self) -> bool:
        return self.name.endswith((".cli", ".__main__"))

    def imports(self) -> Iterator[Import]:
        """Every import at any depth, but not those that only type checkers see."""
        for node in walk_at_run_time(self.tree):
            if isinstance(node, ast.Import):
                yield from (Import(alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                yield from (Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        is_package = self.path.name == "__init__.py"
        kept = parts[: len(parts) - node.level + is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])


def walk_at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but the bodies of `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            continue
        yield node
        yield from walk_at_run_time(node)


def read_modules() -> dict[str, Module]:
    found = {}
    for package in sorted(EXTRAS):
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT).with_suffix("")
            name = ".".join(relative.parts).removesuffix(".__init__")
            found[name] = Module(name, path, ast.parse(path.read_text(encoding="utf-8"), str(path)))
    return found


MODULES = read_modules()
PACKAGES = set(EXTRAS)
GENERATED = {"contracts.sparkplug.sparkplug_b_pb2"}


def is_within(target: str, names: set[str]) -> bool:
    """Whether an import target is one of the names or below it."""
    return any(target == name or target.startswith(f"{name}.") for name in names)


def impurities_of(module: Module) -> list[str]:
    """Why a module is not pure: each import and call with its line."""
    imports = list(module.imports())
    forbidden = IMPURE if module.is_cli else IMPURE | ONLY_IN_CLI
    found = {
        each.line: f"line {each.line}: imports {each.target}"
        for each in imports
        if is_within(each.target, forbidden) and each.target not in DETERMINISTIC
    }
    has_pathlib = any(is_within(each.target, {"pathlib"}) for each in imports)
    for node in walk_at_run_time(module.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if is_impure_call(called) or (has_pathlib and is_path_call(node)):
                found[node.lineno] = f"line {node.lineno}: calls {called}"
    return list(found.values())


def is_impure_call(called: str) -> bool:
    if called in IMPURE_CALLS or called.rpartition(".")[2] in IMPURE_METHODS:
        return True
    return any(called.endswith(f".{name}") for name in IMPURE_CALLS if "." in name)


def is_path_call(node: ast.Call) -> bool:
    """A method of that name with as few arguments as a path's has (`str.replace` takes two)."""
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in PATH_METHODS:
        return False
    return node.func.attr != "replace" or len(node.args) == 1


@cache
def declared_imports(extras: tuple[str, ...]) -> frozenset[str]:
    """Import names of the third-party distributions that pyproject.toml declares for these extras."""
    project = read_pyproject()["project"]
    requirements = list(project["dependencies"])
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    distributions = {normalised(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in requirements}
    owners = packages_distributions().items()
    names = {name for name, distribution in owners if distributions & set(map(normalised, distribution))}
    return frozenset(names | {name for name, bringer in COMES_WITH.items() if bringer in names})


def normalised(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def read_pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


WRITTEN = [MODULES[name] for name in sorted(set(MODULES) - GENERATED)]
each_module = pytest.mark.parametrize("module", WRITTEN, ids=lambda module: module.name)


# --- imports go one way ----------------------------------------------------------------------------------------------


def sibling_imports(module: Module) -> list[str]:
    """What a module imports of packages that it must not know."""
    allowed = {"contracts", module.package}
    return [each.target for each in module.imports() if each.target.partition(".")[0] in PACKAGES - allowed]


def undeclared_imports(module: Module) -> list[str]:
    """What a module imports that is not installed, by pyproject.toml, where it runs."""
    allowed = declared_imports(extras_of(module)) | sys.stdlib_module_names | PACKAGES
    allowed |= DEVELOPMENT_ONLY.get(module.package, set())
    return [each.target for each in module.imports() if each.target.partition(".")[0] not in allowed]


def extras_of(module: Module) -> tuple[str, ...]:
    return ("platform",) if module.name in PLATFORM_CONTRACTS | PLATFORM_SIMULATORS else EXTRAS[module.package]


@each_module
def test_a_package_imports_contracts_and_itself_and_no_sibling(module):
    wrong = sibling_imports(module)
    assert not wrong, (
        f"{module.name} imports {wrong}: what both sides need belongs into contracts (if it crosses a process "
        "boundary), otherwise ask the sibling over its API; tests may import anything"
    )


@each_module
def test_a_module_imports_only_what_pyproject_declares_for_where_it_runs(module):
    wrong = undeclared_imports(module)
    extras = extras_of(module)
    assert not wrong, f"{module.name} imports {wrong}: declare it in pyproject.toml (dependencies or extras {extras})"


@pytest.mark.parametrize(
    ("name", "source", "siblings", "undeclared"),
    [
        ("edge_agent.x", "import contracts.quality\nfrom edge_agent import y\nimport paho.mqtt.client", 0, 0),
        ("edge_agent.x", "import stream_processor.bridge", 1, 0),
        ("edge_agent.x", "from simulators import city", 1, 0),
        ("edge_agent.x", "def f():\n    from console.page import g", 1, 0),
        ("edge_agent.x", "from . import y\nfrom .y import z", 0, 0),
        ("edge_agent.drivers.x", "from ..y import z", 0, 0),
        ("contracts.x", "import edge_agent", 1, 0),
        ("deploy.x", "import stream_processor", 1, 0),
        ("edge_agent.x", "import numpy", 0, 1),
        ("contracts.x", "import numpy", 0, 1),
        ("contracts.record", "import numpy", 0, 0),
        ("console.x", "import selenium", 0, 1),
        ("console.x", "import requests", 0, 1),
        ("console.x", "from starlette.requests import Request", 0, 0),
    ],
)
def test_the_check_of_imports_itself_tells_right_from_wrong(name, source, siblings, undeclared):
    module = Module(name, ROOT / f"{name.replace('.', '/')}.py", ast.parse(source))
    assert len(sibling_imports(module)) == siblings
    assert len(undeclared_imports(module)) == undeclared


@each_module
def test_the_heavy_part_of_contracts_is_imported_on_the_platform_only(module):
    if "platform" in extras_of(module):
        return
    wrong = [each for each in module.imports() if is_within(each.target, PLATFORM_CONTRACTS)]
    assert not wrong, f"{module.name} runs without numpy and imports {wrong}"


def test_an_edge_agent_with_all_of_its_modules_loads_nothing_of_the_platforms_weight():
    names = [name for name in MODULES if name.partition(".")[0] == "edge_agent" and not name.endswith("__main__")]
    assert "edge_agent.cli" in names
    code = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "edge_agent" in loaded
    weight = loaded & NEVER_ON_A_GATEWAY
    assert not weight, f"a gateway has 50 MB for all of the agent, and it now loads {weight}"


# --- pure or shell ---------------------------------------------------------------------------------------------------


@each_module
def test_a_module_is_pure_or_stands_in_the_table_of_shells(module):
    if module.name in SHELLS:
        return
    found = impurities_of(module)
    assert not found, (
        f"{module.path.relative_to(ROOT)} is not pure: {'; '.join(found)}. Either pass in what it fetches (a clock "
        f"reading, bytes, a text), or, if it is a thin shell that decides nothing, add {module.name!r} with what it is "
        "for to SHELLS in tests/unit/test_architecture.py"
    )


@pytest.mark.parametrize("name", SHELLS)
def test_a_listed_shell_exists_and_is_one(name):
    assert name in MODULES, f"{name} does not exist: take it out of SHELLS"
    assert impurities_of(MODULES[name]) or uses_a_shell(MODULES[name]), f"{name} is pure: take it out of SHELLS"
    assert SHELLS[name].strip(), f"say what {name} is for"


@each_module
def test_a_pure_module_leans_on_no_shell(module):
    if module.name in SHELLS:
        return
    assert not uses_a_shell(module), (
        f"{module.name} is pure and imports {uses_a_shell(module)}: turn it round and let the shell import it, or, "
        "if it is a shell itself (a registry of shells is one), add it to SHELLS in tests/unit/test_architecture.py"
    )


def uses_a_shell(module: Module) -> list[str]:
    return sorted({each.target for each in module.imports() if is_within(each.target, set(SHELLS))})


def test_contracts_is_pure_throughout():
    assert not [name for name in SHELLS if name.startswith("contracts")]


@pytest.mark.parametrize(
    ("source", "is_pure"),
    [
        ("import math", True),
        ("import time", False),
        ("import os.path", False),
        ("from os import path", False),
        ("import urllib.parse", True),
        ("import urllib.request", False),
        ("from urllib import request", False),
        ("import random", False),
        ("from random import Random", True),
        ("from random import random", False),
        ("def f():\n    import socket", False),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import socket", True),
        ("from datetime import datetime, UTC\ndatetime.now(UTC)", False),
        ("import datetime\ndatetime.datetime.now()", False),
        ("from datetime import datetime\ndatetime.fromtimestamp(0)", True),
        ("from pathlib import Path\nPath('a') / 'b'", True),
        ("from pathlib import Path\nPath('a').read_text()", False),
        ("open('a')", False),
        ("'a'.replace('a', 'b')", True),
        ("import sys", False),
    ],
)
def test_the_check_itself_tells_pure_from_impure(source, is_pure):
    module = Module("package.module", ROOT / "package/module.py", ast.parse(source))
    assert (impurities_of(module) == []) is is_pure


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_folders_are_those_of_the_design():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    kept = {name for name in folders - NOT_KEPT if not name.endswith(".egg-info") and name != "__pycache__"}
    assert kept == LAYOUT | BESIDE_LAYOUT, "the folder listing is the architecture: design.md says what each is for"


@pytest.mark.needs_shared
def test_the_layout_above_is_that_of_the_design_page():
    section = DESIGN.read_text(encoding="utf-8").partition("## 3. Layout")[2].partition("## 4.")[0]
    assert set(re.findall(r"^(\w+)/", section, re.MULTILINE)) == LAYOUT


def test_every_package_is_in_the_wheel_and_in_the_table_above():
    wheel = read_pyproject()["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert set(wheel["packages"]) == PACKAGES == LAYOUT - {"tests", "docs"}


@each_module
def test_a_module_is_named_for_the_thing_and_has_a_docstring(module):
    vague = VAGUE_NAMES & set(re.split(r"[._]", module.name))
    assert not vague, f"{module.name}: {vague} says nothing; name it for the thing, or a shell for the act"
    assert ast.get_docstring(module.tree), (
        f"{module.name}: its docstring says what it is, from where, and when it fails"
    )


def lines_to_add() -> list[str]:
    """What SHELLS lacks today, each with the first line of its docstring, to be judged and copied by a person."""
    return [
        f'    "{module.name}": "{(ast.get_docstring(module.tree) or "").partition(chr(10))[0]}",'
        for module in WRITTEN
        if module.name not in SHELLS and (impurities_of(module) or uses_a_shell(module))
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*lines_to_add(), ""]))
