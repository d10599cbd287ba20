"""Shell: `city-console run | check-config | issue-password`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import secrets
import sys
import time
from pathlib import Path

from console.configuration import ConsoleSettings
from console.credential import PASSWORD_LIFE_NS, clean_user_name, hash_password, make_password
from console.errors import ConsoleError
from console.session_store import SessionStore
from console.web_server import serve
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError

PROGRAM = "city-console"

_log = logging.getLogger("console.audit")


def main() -> None:
    """Runs a command of the command line; exits with 0, or 2 for a fault of the configuration or the start."""
    arguments = _parse_arguments()
    _configure_logging()
    try:
        settings = _read_settings(arguments.config)
        arguments.command(settings, arguments)
    except (ConfigurationError, ConsoleError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _run(settings: ConsoleSettings, arguments: argparse.Namespace) -> None:
    asyncio.run(serve(settings, arguments.config.parent))


def _check(_settings: ConsoleSettings, arguments: argparse.Namespace) -> None:
    print(f"{arguments.config}: ok")


def _issue(settings: ConsoleSettings, arguments: argparse.Namespace) -> None:
    name = None if arguments.name is None else clean_user_name(arguments.name)
    if arguments.name is not None and name is None:
        raise ConsoleError("--name: 1 to 64 printable characters")
    password = make_password(secrets.choice)
    store = SessionStore(arguments.config.parent / settings.store.path)
    store.add_password(hash_password(password), name, time.time_ns() + PASSWORD_LIFE_NS)
    store.close()
    _log.info("event=password_issued by=command_line user=%r", name or "anybody")
    print(password)


def _read_settings(path: Path) -> ConsoleSettings:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConsoleError(f"{path}: {error}") from error
    return parse_settings(ConsoleSettings, text, str(path))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="The web page for emergency staff and operators.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    rows = (
        ("run", _run, "serve the page until SIGTERM or SIGINT"),
        ("check-config", _check, "check a configuration and name all of its faults"),
        ("issue-password", _issue, "print a fresh one-time password: one sign-in, within 24 h"),
    )
    for name, command, text in rows:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--config", type=Path, required=True, metavar="FILE")
        sub.set_defaults(command=command)
        if command is _issue:
            sub.add_argument("--name", help="only this user may use it (default: anybody)")
    return parser.parse_args()


def _version() -> str:
    try:
        return importlib.metadata.version("citysense")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def _configure_logging() -> None:
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
