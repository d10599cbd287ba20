"""`edge-agent`: the command line (shell)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import time
from importlib import metadata
from pathlib import Path

from contracts.errors import ConfigurationError, Fault
from edge_agent.commands.decode_options import add_decode_parser
from edge_agent.commands.read_once import read_once, read_word_orders
from edge_agent.commands.scan_line import add_scan_parser, scan_command
from edge_agent.commands.watch_lines import watch_lines
from edge_agent.errors import AgentError
from edge_agent.run_agent import run_until_stopped
from edge_agent.settings.configuration import AgentSettings, ProfileLibrary, find_profile_folder, parse_configuration
from edge_agent.settings.configuration_versions import ConfigurationVersions
from edge_agent.settings.keep_configuration import ConfigurationKeeper
from edge_agent.settings.load_profiles import load_profiles
from edge_agent.settings.reread_configuration import Loaded
from edge_agent.spool.spool_status import describe_spool

EXIT_FAILED = 1
EXIT_CONFIGURATION = 2


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
    return _parse(_read(path), path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error


def _parse(text: str, path: Path) -> tuple[AgentSettings, ProfileLibrary]:
    own_folder = find_profile_folder(text)
    profiles = load_profiles(None if own_folder is None else path.resolve().parent / own_folder)
    return parse_configuration(text, str(path), profiles), profiles


def _run(_chosen: argparse.Namespace, path: Path) -> int:
    _set_up_logging()
    keeper = ConfigurationKeeper(
        str(path),
        ConfigurationVersions(_versions_folder(path.resolve())),
        lambda: _read(path),
        lambda text: Loaded(*_parse(text, path), text),
        lambda loaded: loaded.settings.configuration.fall_back_after_s,
    )
    asyncio.run(run_until_stopped(keeper, path.resolve().parent))
    return 0


def _versions_folder(path: Path) -> Path:
    """In systemd's folder for our state if there is one: the file's own may not be writable."""
    state = os.environ.get("STATE_DIRECTORY")
    return Path(state.split(":")[0]) / "configuration-versions" if state else path.with_name(f"{path.name}.versions")


def _check_config(_chosen: argparse.Namespace, path: Path) -> int:
    _load(path)
    print(f"{path}: ok")
    return 0


def _read_once(chosen: argparse.Namespace, path: Path) -> int:
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
    if chosen.word_orders:
        lines, is_good = asyncio.run(read_word_orders(settings, profiles, path.resolve().parent, str(node_id)))
    else:
        lines, is_good = asyncio.run(read_once(settings, profiles, path.resolve().parent, node_id))
    print("\n".join(lines))
    return 0 if is_good else EXIT_FAILED


def _watch(chosen: argparse.Namespace, path: Path) -> int:
    settings, profiles = _load(path)
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)
    logging.getLogger("edge_agent").setLevel(logging.CRITICAL + 1)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(watch_lines(settings, profiles, path.resolve().parent, chosen.node, chosen.count))
    return 0


def _spool_status(_chosen: argparse.Namespace, path: Path) -> int:
    settings, _ = _load(path)
    lines, is_good = describe_spool(path.resolve().parent / settings.spool.path, settings.spool.disk_max_bytes)
    print("\n".join(lines))
    return 0 if is_good else EXIT_FAILED


def _decode(chosen: argparse.Namespace, _path: Path) -> int:
    from edge_agent.commands.decode_command import decode_command  # noqa: PLC0415  # no weight on the agent that runs

    return decode_command(chosen)


_COMMANDS = {
    "run": _run,
    "check-config": _check_config,
    "decode": _decode,
    "read-once": _read_once,
    "scan": lambda chosen, _path: scan_command(chosen),
    "spool": _spool_status,
    "spool-status": _spool_status,
    "watch": _watch,
}


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description="Reads field devices and publishes Sparkplug B.")
    parser.add_argument("--version", action="version", version=f"edge-agent {_version()}")
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
        command.add_argument("--config", required=True, metavar="FILE")
        if name == "spool":
            command.add_argument("action", choices=["status"])
        if name in {"read-once", "watch"}:
            command.add_argument("--node", metavar="NODE_ID", help="only this node")
        if name == "read-once":
            command.add_argument("--word-orders", action="store_true", help="its registers in all four word orders")
        if name == "watch":
            command.add_argument("--count", type=int, metavar="N", help="end after so many tables, one a second")
    add_decode_parser(commands)
    add_scan_parser(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("citysense")
    except metadata.PackageNotFoundError:
        return "0+unknown"


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
