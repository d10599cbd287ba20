"""`edge-agent`: the command line (shell)."""

# ruff: noqa: PLC0415  # what a command needs is imported when it is called: `run` is to stay small

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import ConfigurationError, Fault
from edge_agent.commands.decode_options import add_decode_parser
from edge_agent.commands.scan_options import add_scan_parser
from edge_agent.errors import AgentError

if TYPE_CHECKING:
    from edge_agent.agent_plan import AgentPlan
    from edge_agent.settings.configuration import AgentSettings, ProfileLibrary
    from edge_agent.settings.keep_configuration import ConfigurationKeeper

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
DAY_S = 86_400.0
"""Nobody waits longer for a station."""
RUNNING_VERSION = ""
"""`check-config --against` without a file."""
INSTALLED_VERSIONS = Path("/var/lib/citysense/configuration-versions")
"""Where the agent keeps them under systemd (deploy/edge-agent.service)."""


def main() -> None:
    """Entry point."""
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Does what the arguments say; gives the exit code."""
    chosen = _build_parser().parse_args(arguments)
    try:
        return _COMMANDS[chosen.command](chosen, Path(chosen.config))
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIGURATION
    except AgentError as error:
        print(f"edge-agent: {error}", file=sys.stderr)
        return EXIT_FAILED


def _load(path: Path) -> tuple[AgentSettings, ProfileLibrary]:
    """The configuration in this process: for commands that end soon."""
    from edge_agent.settings.configuration import find_profile_folder, parse_configuration
    from edge_agent.settings.load_profiles import load_profiles

    text = _read(path)
    own_folder = find_profile_folder(text)
    profiles = load_profiles(None if own_folder is None else path.resolve().parent / own_folder)
    return parse_configuration(text, str(path), profiles), profiles


def _plan(path: Path, text: str) -> AgentPlan:
    """The plan of a text of the file, made in this process."""
    from edge_agent.settings.plan_process import plan_text

    return plan_text(text, str(path), path.resolve().parent)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error


def _run(_chosen: argparse.Namespace, path: Path) -> int:
    from edge_agent.settings.ask_planner import ask_planner
    from edge_agent.settings.configuration_versions import ConfigurationVersions
    from edge_agent.settings.keep_configuration import ConfigurationKeeper
    from edge_agent.spare_memory import use_one_heap

    use_one_heap()
    _set_up_logging()
    folder = path.resolve().parent
    keeper = ConfigurationKeeper(
        str(path),
        ConfigurationVersions(_versions_folder(path.resolve())),
        lambda: _read(path),
        lambda text: ask_planner(text, str(path), folder),
    )
    asyncio.run(_begin(keeper, folder))  # nothing here may hold the first plan: it is let go of as soon as it runs
    return 0


def _begin(keeper: ConfigurationKeeper, folder: Path) -> Coroutine[None, None, None]:
    """The agent's work. A start has two long parts: the planner, and loading what runs: side by side."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(keeper.first)
        from edge_agent.run_agent import run_until_stopped

        return run_until_stopped(keeper, first.result(), folder)


def _versions_folder(path: Path) -> Path:
    """In systemd's folder for our state if there is one: the file's own may not be writable."""
    state = os.environ.get("STATE_DIRECTORY")
    return Path(state.split(":")[0]) / "configuration-versions" if state else path.with_name(f"{path.name}.versions")


def _check_config(chosen: argparse.Namespace, path: Path) -> int:
    from edge_agent.settings.plan_difference import describe_difference

    wanted = _plan(path, _read(path))
    print(f"{path}: ok")
    if chosen.against is None:
        return 0
    name, text = _find_running(path, chosen.against)
    print(f"against {name}:")
    for line in describe_difference(_plan(path, text), wanted):
        print(f"  {line}")
    return 0


def _find_running(path: Path, against: str) -> tuple[str, str]:
    """Name and text of what a configuration is held against: a file, or the version that runs (or ran last)."""
    from edge_agent.settings.configuration_versions import ConfigurationVersions

    if against != RUNNING_VERSION:
        return against, _read(Path(against))
    beside = path.resolve().with_name(f"{path.name}.versions")
    for folder in (_versions_folder(path.resolve()), beside, INSTALLED_VERSIONS):
        versions = ConfigurationVersions(folder)
        text = versions.text(versions.state.newest)
        if text is not None:
            return f"version {versions.state.newest} in {folder}", text
    raise AgentError("no version of this configuration has run here: name a file, --against FILE")


def _read_once(chosen: argparse.Namespace, path: Path) -> int:
    from edge_agent.agent_plan import ListeningLinePlan
    from edge_agent.commands.read_listening import read_listening
    from edge_agent.commands.read_once import read_once, read_word_orders
    from edge_agent.plan_agent import plan_agent

    settings, profiles = _load(path)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    known = [node.node_id for bus in settings.bus for node in bus.node]
    node_id: str | None = chosen.node
    if node_id is not None and node_id not in known:
        print(f"edge-agent: {node_id!r} is not one of {', '.join(known)}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if chosen.word_orders and node_id is None:
        print("edge-agent: --word-orders wants one node: --node NODE_ID", file=sys.stderr)
        return EXIT_CONFIGURATION
    folder = path.resolve().parent
    if chosen.word_orders:
        lines, is_good = asyncio.run(read_word_orders(settings, profiles, folder, str(node_id)))
        print("\n".join(lines))
        return 0 if is_good else EXIT_FAILED
    listening = [line for line in plan_agent(settings, profiles, folder).lines if isinstance(line, ListeningLinePlan)]
    called = {channel[0] for line in listening for channel in line.channel_names()}
    is_good = True
    if node_id not in called and called < set(known):
        lines, is_good = asyncio.run(read_once(settings, profiles, folder, node_id))
        print("\n".join(lines), flush=True)
    if node_id in called or (node_id is None and called):
        is_good &= asyncio.run(read_listening(listening, node_id, chosen.wait, lambda line: print(line, flush=True)))
    return 0 if is_good else EXIT_FAILED


def _watch(chosen: argparse.Namespace, path: Path) -> int:
    from edge_agent.agent_plan import PolledLinePlan
    from edge_agent.commands.watch_lines import watch_lines

    plan = _plan(path, _read(path))
    polled = {channel[0] for line in plan.lines if isinstance(line, PolledLinePlan) for channel in line.channel_names()}
    if not polled or chosen.node not in {None, *polled}:
        what = (
            "no line is polled" if chosen.node is None else f"{chosen.node!r} is not one of {', '.join(sorted(polled))}"
        )
        print(f"edge-agent: {what} (stations that call us are shown by read-once)", file=sys.stderr)
        return EXIT_CONFIGURATION
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    logging.getLogger("edge_agent").setLevel(logging.CRITICAL + 1)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_lines(plan, chosen.node, chosen.count))
    return 0


def _spool_status(_chosen: argparse.Namespace, path: Path) -> int:
    from edge_agent.spool.spool_status import describe_spool

    settings, _ = _load(path)
    lines, is_good = describe_spool(path.resolve().parent / settings.spool.path, settings.spool.disk_max_bytes)
    print("\n".join(lines))
    return 0 if is_good else EXIT_FAILED


def _decode(chosen: argparse.Namespace, _path: Path) -> int:
    from edge_agent.commands.decode_command import decode_command

    return decode_command(chosen)


def _scan(chosen: argparse.Namespace, _path: Path) -> int:
    from edge_agent.commands.scan_line import scan_command

    return scan_command(chosen)


_COMMANDS = {
    "run": _run,
    "check-config": _check_config,
    "decode": _decode,
    "read-once": _read_once,
    "scan": _scan,
    "spool": _spool_status,
    "spool-status": _spool_status,
    "watch": _watch,
}


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description="Reads field devices and publishes Sparkplug B.")
    parser.add_argument("--version", action=_TellVersion, nargs=0, help="tell the version and end")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "run": "run until SIGTERM or SIGINT",
        "check-config": "name every fault of a configuration; exit code 2 if there is one",
        "read-once": "read each node once and print value, unit and quality; exit code 1 if one is not good",
        "spool": "`spool status`: what waits for acknowledgement, how much room is left, what was given up",
        "spool-status": "the same as `spool status`",
        "watch": "poll all lines and show a live table; stop the agent first, it holds the ports",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", required=True, metavar="FILE", help="the agent's configuration (TOML)")
        if name == "spool":
            command.add_argument("action", choices=["status"])
        if name in {"read-once", "watch"}:
            command.add_argument("--node", metavar="NODE_ID", help="only this node")
        if name == "read-once":
            command.add_argument("--word-orders", action="store_true", help="its registers in all four word orders")
            command.add_argument(
                "--wait",
                type=_seconds,
                default=60.0,
                metavar="SECONDS",
                help="for stations that call us, at most (default: 60); nothing is answered, so they send again",
            )
        if name == "check-config":
            command.add_argument(
                "--against",
                nargs="?",
                const=RUNNING_VERSION,
                metavar="FILE",
                help="a dry run: what would change; without FILE, against the version that runs",
            )
        if name == "watch":
            command.add_argument("--count", type=_count, metavar="N", help="end after so many tables, one a second")
    add_decode_parser(commands)
    add_scan_parser(commands)
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= DAY_S:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from 0 to {DAY_S:.0f}")
    return seconds


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


class _TellVersion(argparse.Action):
    """Looks the version up only when it is asked for: that weighs 2 MB."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version("citysense")
        except metadata.PackageNotFoundError:
            version = "0+unknown"
        print(f"edge-agent {version}")
        parser.exit()


def _set_up_logging() -> None:
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)


if __name__ == "__main__":
    main()
