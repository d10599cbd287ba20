"""`make stack`, `make stack-down`: the real servers on this machine (a shell).

`up` starts a supervisor in a session of its own and returns when every server is ready; `down` ends it, and with it the
servers. `supervise` is what `up` starts; it can also be run in the foreground.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy import announcement, prepare_run
from deploy.errors import DeployError, MissingToolsError
from deploy.layout import RunDirectory
from deploy.plan import Program
from deploy.ports import choose_ports
from deploy.probe import is_ready
from deploy.stack import prepare_servers, recipe
from deploy.stack.addresses import (
    INFLUXDB,
    POSTGRESQL,
    SERVERS,
    VARIABLES,
    format_environment,
    parse_endpoint,
    read_given,
)
from deploy.stack.find_servers import find_servers
from deploy.stack.recipe import Executables
from deploy.supervise import Supervisor

FAILED: Final = 1
FAULTY: Final = 2
TOOLS_MISSING: Final = 3
INTERRUPTED: Final = 130
UP_PATIENCE_S: Final = 120.0
DOWN_PATIENCE_S: Final = 10.0
INTERVAL_S: Final = 0.1
MODULE: Final = "deploy.stack.cli"


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    run = RunDirectory(str(options.dir.resolve()))
    try:
        sys.exit(options.command(run, options))
    except MissingToolsError as error:
        print(error, file=sys.stderr)
        sys.exit(TOOLS_MISSING)
    except (DeployError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        sys.exit(FAULTY)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make stack", description="The real servers on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    rows: tuple[tuple[str, Callable[[RunDirectory, argparse.Namespace], int], str], ...] = (
        ("up", _up, "fetch and build what is absent, start the servers in the background"),
        ("down", _down, "stop the servers that `up` started"),
        ("status", _status, "which servers run here, with process ids and addresses"),
        ("supervise", _supervise, "run the servers in the foreground until a signal"),
        ("fetch", _fetch, "only fetch and build what is absent"),
    )
    for name, command, text in rows:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--dir", type=Path, default=Path(".citysense-stack"), help="default: %(default)s")
        sub.add_argument("--only", nargs="+", choices=SERVERS, default=SERVERS, help="these servers only")
        sub.set_defaults(command=command)
    return parser


def _up(run: RunDirectory, options: argparse.Namespace) -> int:
    if _holder(run) is not None:
        _say(f"the servers of {run.root} already run")
        return _status(run, options)
    _find(options.only)  # before the supervisor: it takes minutes once, and a person should see it
    Path(run.root).mkdir(mode=0o700, parents=True, exist_ok=True)
    _variables_file(run).unlink(missing_ok=True)
    log = Path(run.root, "supervisor.log")
    command = (sys.executable, "-m", MODULE, "supervise", "--dir", run.root, "--only", *options.only)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    is_up = False
    try:
        is_up = _wait_until_up(run, process)
    finally:
        if not is_up:
            process.terminate()
            process.wait()
    process.returncode = 0  # it lives on; this process does not wait for it
    print(log.read_text(errors="replace"), end="", file=sys.stdout if is_up else sys.stderr, flush=True)
    return 0 if is_up else FAILED


def _wait_until_up(run: RunDirectory, supervisor: subprocess.Popen[bytes]) -> bool:
    """Whether the servers became ready; False if their supervisor ended, or after UP_PATIENCE_S."""
    deadline_s = time.monotonic() + UP_PATIENCE_S
    while not _variables_file(run).exists():
        if supervisor.poll() is not None or time.monotonic() > deadline_s:
            return False
        time.sleep(INTERVAL_S)
    return True


def _down(run: RunDirectory, _options: argparse.Namespace) -> int:
    pid = _holder(run)
    if pid is None:
        _say(f"nothing runs in {run.root}")
        return 0
    if not _is_ours(pid, run):
        print(f"the process {pid} holds {run.lock} and is no supervisor of ours: not stopped", file=sys.stderr)
        return FAILED
    os.kill(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + DOWN_PATIENCE_S
    while _holder(run) == pid:
        if time.monotonic() > deadline_s:
            os.kill(pid, signal.SIGKILL)  # the tethers end the servers with it
            deadline_s = time.monotonic() + DOWN_PATIENCE_S
        time.sleep(INTERVAL_S)
    _say("the servers are stopped; their data stay")
    return 0


def _status(run: RunDirectory, _options: argparse.Namespace) -> int:
    if _holder(run) is None or not _variables_file(run).exists():
        _say(f"nothing runs in {run.root}")
        return FAILED
    _say(_variables_file(run).read_text().rstrip())
    return 0


def _fetch(_run: RunDirectory, options: argparse.Namespace) -> int:
    _find(options.only)
    return 0


def _supervise(run: RunDirectory, options: argparse.Namespace) -> int:
    os.umask(0o077)  # the servers' data are nobody else's
    given = read_given(os.environ, options.only)
    found = _find(options.only)
    with prepare_run.held(run):
        prepare_run.make_folders(run)
        try:
            return asyncio.run(_run(run, found, given))
        finally:
            _variables_file(run).unlink(missing_ok=True)


def _find(only: Sequence[str]) -> Executables:
    given = read_given(os.environ, only)
    return find_servers([name for name in only if name not in given], _say)


async def _run(run: RunDirectory, found: Executables, given: dict[str, str]) -> int:
    """Starts the servers and waits for a signal. Returns the exit code."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    supervisor = Supervisor(run, _say)
    started = asyncio.create_task(_start(run, found, given, supervisor))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            started.result()
            await stopped
    finally:
        started.cancel()
        stopped.cancel()
        await asyncio.gather(started, stopped, return_exceptions=True)
        await supervisor.stop()
    return 0


async def _start(run: RunDirectory, found: Executables, given: dict[str, str], supervisor: Supervisor) -> None:
    began_s = time.monotonic()
    for name, address in given.items():
        if not await is_ready(parse_endpoint(name, address)):
            raise ValueError(f"{VARIABLES[name]}: {address}: nothing answers there")
    ports = choose_ports(recipe.PREFERRED_PORTS, prepare_run.is_free)
    await _prepare(run, ports, found, supervisor)
    programs = recipe.plan_servers(run, ports, found, prepare_servers.read_facts(run))
    await supervisor.start(programs)
    if found.postgresql:
        await prepare_servers.finish_postgresql(run, ports[POSTGRESQL], found, supervisor)
    if found.influxd:
        await asyncio.to_thread(prepare_servers.set_up_influxdb, run, ports[INFLUXDB])
    _announce(run, ports, programs, given, supervisor, time.monotonic() - began_s)


async def _prepare(run: RunDirectory, ports: dict[str, int], found: Executables, supervisor: Supervisor) -> None:
    if found.mosquitto:
        await prepare_servers.prepare_broker(run, ports, sys.executable, supervisor)
    if found.kafka_jars:
        prepare_servers.prepare_kafka(run, ports)
    if found.influxd:
        prepare_servers.prepare_influxdb(run)
    if found.postgresql:
        prepare_servers.prepare_postgresql(run, ports)


def _announce(
    run: RunDirectory,
    ports: dict[str, int],
    programs: Sequence[Program],
    given: dict[str, str],
    supervisor: Supervisor,
    took_s: float,
) -> None:
    pids = supervisor.pids()
    services = [program for program in programs if not program.is_task]
    _say(f"{len(services)} servers run, {took_s:.1f} s after the start:")
    _say(announcement.format_programs(services, pids))
    for name, address in given.items():
        _say(f"  {name}: {address}, as {VARIABLES[name]} says")
    _say(f"addresses for programs: . {_variables_file(run)}")
    variables = recipe.connection_variables(run, ports, frozenset(pids), given)
    unfinished = Path(f"{_variables_file(run)}.unfinished")
    unfinished.write_text(format_environment(variables))
    unfinished.replace(_variables_file(run))  # last: `up` waits for it


def _variables_file(run: RunDirectory) -> Path:
    return Path(run.root, "servers.env")


def _holder(run: RunDirectory) -> int | None:
    """Process id of the supervisor that holds the run directory; None if nobody does."""
    path = Path(run.lock)
    if not path.exists():
        return None
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = lock.read().strip()
            return int(text) if text else 0
    return None


def _is_ours(pid: int, run: RunDirectory) -> bool:
    """Whether the process is a supervisor of this run directory, by its command line (where /proc tells it)."""
    if not Path("/proc/self/cmdline").exists():
        return pid > 0
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except FileNotFoundError:
        return False
    return {MODULE.encode(), b"supervise"} <= set(words) and run.root.encode() in words


def _say(text: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(text, flush=True)


if __name__ == "__main__":
    main()
