"""`citysense run | status | password`: the demonstration city on this machine (a shell)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from deploy import announcement, prepare_run
from deploy.announcement import Happening, SignIn
from deploy.configuration_text import RENDERERS, City
from deploy.errors import DeployError
from deploy.layout import RunDirectory
from deploy.plan import Program, Tools, plan_city, plan_embedded, plan_password, plan_write_demo
from deploy.ports import PREFERRED_PORTS, choose_ports
from deploy.probe import get_json
from deploy.restart_policy import is_wedged
from deploy.stack import start_servers
from deploy.stack.city_plan import plan_processor
from deploy.stack.city_text import STACK_RENDERERS
from deploy.supervise import Supervisor

USER_NAME: Final = "operator"
FAILED: Final = 1
FAULTY: Final = 2
ONLINE_PATIENCE_S: Final = 20.0
ONLINE_INTERVAL_S: Final = 0.5
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


StartServers = Callable[[RunDirectory, Mapping[str, int], Supervisor], Awaitable[tuple[Program, ...]]]


async def _start_none(*_: object) -> tuple[Program, ...]:
    """The embedded engine needs no servers."""
    return ()


@dataclass(frozen=True, slots=True)
class Engine:
    """Which stream processor the city gets, and what it needs."""

    renderers: Mapping[str, Callable[[City], str]]
    """Every program's configuration."""
    plan_processor: Callable[[City, str], tuple[Program, ...]]
    server_ports: Mapping[str, int]
    servers: tuple[str, ...]
    """Names of the servers beside the broker; they start first and stop last."""
    start_servers: StartServers


_EMBEDDED: Final = Engine(RENDERERS, plan_embedded, {}, (), _start_none)


def _stack_engine() -> Engine:
    """The distributed engine; its servers are fetched or built now. Raises MissingToolsError, BuildError."""
    found = start_servers.find(_say)

    async def start(run: RunDirectory, ports: Mapping[str, int], supervisor: Supervisor) -> tuple[Program, ...]:
        return await start_servers.start_servers(run, ports, found, supervisor)

    return Engine(STACK_RENDERERS, plan_processor, start_servers.PORTS, start_servers.WANTED, start)


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    run = RunDirectory(str(options.dir.resolve()))
    try:
        sys.exit(options.command(run, options))
    except (DeployError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(FAULTY)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="citysense", description="The demonstration city on this machine.")
    parser.add_argument("--version", action="version", version=f"citysense {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    rows: tuple[tuple[str, Callable[[RunDirectory, argparse.Namespace], int], str], ...] = (
        ("run", _run, "start everything, tell what happens, stop everything at Ctrl-C"),
        ("status", _status, "what runs here, with process ids and addresses"),
        ("password", _password, "print another one-time password for the console"),
    )
    for name, command, text in rows:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--dir", type=Path, default=Path(".citysense"), help="run directory (default: %(default)s)")
        sub.set_defaults(command=command)
        if command is _run:
            sub.add_argument("--fresh", action="store_true", help="begin with no data; earlier data are moved aside")
            sub.add_argument(
                "--stack",
                action="store_true",
                help="on Mosquitto, Kafka, InfluxDB and PostgreSQL, which are fetched or built once",
            )
            sub.add_argument(
                "--broker",
                choices=["auto", "mosquitto", "rumqttd"],
                default="auto",
                help="auto: the system's mosquitto if there is one, else the embedded rumqttd",
            )
    return parser


def _run(run: RunDirectory, options: argparse.Namespace) -> int:
    tools = prepare_run.find_tools("mosquitto" if options.stack else options.broker)
    engine = _stack_engine() if options.stack else _EMBEDDED
    with prepare_run.held(run):
        if options.fresh and (moved_to := prepare_run.move_away(run)):
            _say(f"earlier data are now in {moved_to}")
        prepare_run.make_folders(run)
        return asyncio.run(_supervise(run, tools, engine))


async def _supervise(run: RunDirectory, tools: Tools, engine: Engine) -> int:
    """Starts the city and waits for a signal. Returns the exit code."""
    supervisor = Supervisor(run, _say)
    stop = _stop_at_signal(supervisor)
    started = asyncio.create_task(_start(run, tools, engine, supervisor))
    stopped = asyncio.create_task(stop.wait())
    code = 0
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if started.done():
            started.result()
            await stopped
    except (DeployError, OSError, ValueError) as error:
        print(f"\ncitysense could not start: {error}", file=sys.stderr)
        code = FAILED
    finally:
        started.cancel()
        await asyncio.gather(started, return_exceptions=True)
        stopped.cancel()
        _say("stopping ...")
        await supervisor.stop()
        _say("stopped.")
    return code


async def _start(run: RunDirectory, tools: Tools, engine: Engine, supervisor: Supervisor) -> None:
    began_s = time.monotonic()
    preferred = {**PREFERRED_PORTS, **engine.server_ports}
    ports = choose_ports(preferred, prepare_run.is_free)
    _say("starting the city ...")
    await supervisor.run_task(plan_write_demo(run, tools.python, ports))
    city = prepare_run.write_configurations(run, ports, engine.renderers)
    field, happenings = prepare_run.read_field(run)
    servers = await engine.start_servers(run, ports, supervisor)
    programs = plan_city(city, tools, field, engine.plan_processor(city, tools.python), engine.servers)
    await supervisor.start(programs)
    password = await supervisor.run_task(plan_password(run, tools.python, USER_NAME))
    sign_in = SignIn(city.url("console"), USER_NAME, password.strip())
    _say(f"{len(supervisor.pids())} programs run, {time.monotonic() - began_s:.1f} s after the start:")
    _announce(city, preferred, (*servers, *programs), supervisor, sign_in, happenings)
    await _report_gateways(city)
    await _watch_broker(city, supervisor)


def _announce(
    city: City,
    preferred: Mapping[str, int],
    programs: Sequence[Program],
    supervisor: Supervisor,
    sign_in: SignIn,
    happenings: Sequence[Happening],
) -> None:
    now_s = time.time()
    field_started_s = now_s - supervisor.age_s("field")
    parts = [
        announcement.format_programs(programs, supervisor.pids()),
        announcement.format_moved_ports(preferred, city.ports),
        announcement.format_sign_in(sign_in),
        announcement.format_happenings(happenings, field_started_s, now_s, _wall_clock),
        announcement.format_interface(
            city.run.token("viewer"), city.url("stream-processor"), str(Path(city.run.root, "log"))
        ),
    ]
    _say("\n\n".join(part for part in parts if part) + "\n")


async def _report_gateways(city: City) -> None:
    """Says when every gateway is online, or which one is not: what no table of processes can show."""
    absent = {account.gateway_id for account in city.gateways}
    deadline_s = time.monotonic() + ONLINE_PATIENCE_S
    while absent and time.monotonic() < deadline_s:
        await asyncio.sleep(ONLINE_INTERVAL_S)
        health = await _get_health(city)
        absent -= {row["gateway_id"] for row in health["gateways"] if row["is_online"]} if health else set()
    if absent:
        _say(f"not online after {ONLINE_PATIENCE_S:.0f} s: {', '.join(sorted(absent))}; their logs say why")
    else:
        _say(f"all {len(city.gateways)} gateways are online; readings arrive")


async def _watch_broker(city: City, supervisor: Supervisor) -> None:
    """Starts a broker again that runs but lets nobody in, by what the stream processor says of it. Never returns."""
    connected_s = time.monotonic()
    while True:
        await asyncio.sleep(ONLINE_INTERVAL_S)
        health = await _get_health(city)
        if health is None or health["is_broker_connected"]:
            connected_s = time.monotonic()
        elif is_wedged(time.monotonic() - connected_s, supervisor.age_s("broker")):
            _say("the broker runs, but the stream processor cannot connect to it")
            supervisor.restart("broker")
            connected_s = time.monotonic()


async def _get_health(city: City) -> dict[str, Any] | None:
    health = await get_json(f"{city.url('stream-processor')}/v1/health", city.tokens["viewer"])
    return health if isinstance(health, dict) else None


def _stop_at_signal(supervisor: Supervisor) -> asyncio.Event:
    """The first signal asks for a stop; the second one kills what is left at once."""
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    for number in _STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop


def _status(run: RunDirectory, _options: argparse.Namespace) -> int:
    path = Path(run.state)
    state = json.loads(path.read_text()) if path.exists() else {"programs": []}
    rows = [row for row in state["programs"] if row["is_running"] and _is_alive(row["pid"])]
    programs = [Program(row["name"], (), address=row["address"]) for row in rows]
    if not rows:
        _say(f"nothing runs in {run.root}")
        return FAILED
    _say(announcement.format_programs(programs, {row["name"]: row["pid"] for row in rows}))
    return 0


def _password(run: RunDirectory, _options: argparse.Namespace) -> int:
    program = plan_password(run, sys.executable, USER_NAME)
    return asyncio.run(_print_task(run, program))


async def _print_task(run: RunDirectory, program: Program) -> int:
    _say((await Supervisor(run, _say).run_task(program)).strip())
    return 0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wall_clock(time_s: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(time_s))


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody reads any more; stopping must still work
        print(text, flush=True)


def _version() -> str:
    try:
        return version("citysense")
    except PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    main()
