"""`edge-agent`: the command line (shell)."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from contracts.errors import ConfigurationError, Fault
from edge_agent.configuration import AgentSettings, ProfileLibrary, find_profile_folder, parse_configuration
from edge_agent.errors import AgentError
from edge_agent.load_profiles import load_profiles
from edge_agent.read_once import read_once
from edge_agent.run_agent import run_agent
from edge_agent.store_readings import Spool

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
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error
    own_folder = find_profile_folder(text)
    profiles = load_profiles(None if own_folder is None else path.resolve().parent / own_folder)
    return parse_configuration(text, str(path), profiles), profiles


def _run(_chosen: argparse.Namespace, path: Path) -> int:
    _set_up_logging()
    asyncio.run(run_agent(*_load(path), path.resolve().parent))
    return 0


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
    lines, is_good = asyncio.run(read_once(settings, profiles, path.resolve().parent, node_id))
    print("\n".join(lines))
    return 0 if is_good else EXIT_FAILED


def _spool_status(_chosen: argparse.Namespace, path: Path) -> int:
    settings, _ = _load(path)
    spool_path = path.resolve().parent / settings.spool.path
    if not spool_path.exists():
        print(f"{spool_path}: there is no spool yet")
        return 0
    with contextlib.closing(Spool(spool_path, settings.spool.disk_max_bytes, first_epoch=int(time.time()))) as spool:
        status = spool.status()
    print(f"{spool_path}: epoch {status.epoch}, {status.file_bytes} bytes")
    print(f"waiting for acknowledgement: {status.reading_count} readings in {status.batch_count} batches")
    if status.oldest_phenomenon_ns is not None and status.newest_phenomenon_ns is not None:
        print(f"measured from {_format_time(status.oldest_phenomenon_ns)}")
        print(f"           to {_format_time(status.newest_phenomenon_ns)}")
    return 0


_COMMANDS = {
    "run": _run,
    "check-config": _check_config,
    "read-once": _read_once,
    "spool-status": _spool_status,
}


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-agent", description="Reads field devices and publishes Sparkplug B.")
    parser.add_argument("--version", action="version", version=f"edge-agent {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {
        "run": "run until SIGTERM or SIGINT",
        "check-config": "name every fault of a configuration; exit code 2 if there is one",
        "read-once": "read each node once and print value, unit and quality; exit code 1 if one is not good",
        "spool-status": "what waits for acknowledgement",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--config", required=True, metavar="FILE")
        if name == "read-once":
            command.add_argument("--node", metavar="NODE_ID", help="only this node")
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


def _format_time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main()
