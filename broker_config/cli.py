"""`broker-config`: reads a description and its passwords, writes a broker's files (a shell; it decides nothing)."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Protocol, TypeVar

from broker_config import mosquitto
from broker_config.broker_file import Credentials, Kind, build_files, find_differences
from broker_config.configuration import BrokerSettings
from broker_config.set_up_influxdb import InfluxdbAdministrator, InfluxdbError
from broker_config.set_up_influxdb_1 import Influxdb1Administrator, ask_version
from broker_config.set_up_influxdb_3 import Influxdb3Administrator
from broker_config.set_up_kafka import KafkaSetUpError, set_up_kafka
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError, Fault
from contracts.influx_schema import BUCKETS

FAULTY: Final = 2
"""Exit code for faults that a person must mend."""
DIFFERENT: Final = 1
"""Exit code of `set-up-influxdb --check` and `set-up-kafka --check` if the server is not as the schema says."""
_TO_REBUILD: Final = " and ".join(bucket.name for bucket in BUCKETS if bucket.is_downsampled)


class _Change(Protocol):
    @property
    def what(self) -> str: ...


_ChangeT = TypeVar("_ChangeT", bound=_Change)


class _Administrator(Protocol[_ChangeT]):
    """A server that can be brought to the schema."""

    def find_changes(self) -> list[_ChangeT]: ...
    def apply(self, change: _ChangeT, /) -> None: ...
    def close(self) -> None: ...


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    try:
        if options.command == "set-up-influxdb":
            sys.exit(_set_up_influxdb(options.url, options.org, options.token_file, is_check=options.check))
        settings = _read_settings(options.config)
        if options.command == "set-up-kafka":
            sys.exit(_set_up_kafka(settings, options.servers.split(","), is_check=options.check))
        if options.command == "render":
            sys.exit(_render(settings, options.kind, options.config, options.out.resolve(), is_check=options.check))
        else:
            print(f"{options.config}: ok")
    except (ConfigurationError, InfluxdbError, KafkaSetUpError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(FAULTY)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="broker-config", description="Renders a broker's configuration files.")
    parser.add_argument("--version", action="version", version=f"broker-config {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check-config", help="name every fault of a description")
    render = commands.add_parser("render", help="write the broker's files")
    kafka = commands.add_parser("set-up-kafka", help="make the topics as specified, and set what differs")
    kafka.add_argument("--servers", required=True, help="HOST:PORT, several with commas")
    kafka.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something differs")
    for command in (check, render, kafka):
        command.add_argument("--config", type=Path, required=True, help="the description (TOML)")
    render.add_argument("--kind", type=Kind, choices=list(Kind), required=True)
    render.add_argument("--out", type=Path, required=True, help="directory for the files; made if absent")
    render.add_argument("--check", action="store_true", help="write nothing; show what differs, then exit code 1")
    influxdb = commands.add_parser(
        "set-up-influxdb", help="make buckets and downsampling of an InfluxDB 1.8, 2.x or 3 as specified"
    )
    influxdb.add_argument("--url", required=True, help="http://HOST:PORT")
    influxdb.add_argument("--org", required=True, help="the organisation's name; 1.8 and 3 have none: -")
    influxdb.add_argument(
        "--token-file", type=Path, required=True, help="holds an operator's token (1.8: user:password)"
    )
    influxdb.add_argument("--check", action="store_true", help="change nothing; exit code 1 if something differs")
    return parser


def _set_up_influxdb(url: str, org: str, token_file: Path, *, is_check: bool) -> int:
    """Prints what differs, one a line, and mends it unless `is_check`."""
    token = token_file.read_text().strip()
    version = ask_version(url, token).removeprefix("v")
    if version.startswith("1."):
        count = _bring_to_schema(Influxdb1Administrator(url, token), is_check=is_check)
    elif version.startswith("3."):
        count = _bring_to_schema(Influxdb3Administrator(url, token), is_check=is_check)
        print(
            f"{url}: InfluxDB {version} has no tasks: {_TO_REBUILD} are for `stream-processor rebuild`", file=sys.stderr
        )
    else:
        count = _bring_to_schema(InfluxdbAdministrator(url, org, token), is_check=is_check)
    if not count:
        print(f"{url}: ok")
    return DIFFERENT if is_check and count else 0


def _bring_to_schema(administrator: _Administrator[_ChangeT], *, is_check: bool) -> int:
    """How many differences there were."""
    try:
        changes = administrator.find_changes()
        for change in changes:
            if not is_check:
                administrator.apply(change)
            print(change.what if is_check else f"{change.what}; done")
    finally:
        administrator.close()
    return len(changes)


def _set_up_kafka(settings: BrokerSettings, servers: list[str], *, is_check: bool) -> int:
    """Prints what differs, one a line, and mends it unless `is_check`."""
    changes = asyncio.run(set_up_kafka(servers, settings.kafka, is_check=is_check))
    for change in changes:
        print(change.what if is_check or change.is_hopeless else f"{change.what}; done")
    if any(change.is_hopeless for change in changes):
        return FAULTY
    if not changes:
        print(f"{','.join(servers)}: ok")
    return DIFFERENT if is_check and changes else 0


def _read_settings(path: Path) -> BrokerSettings:
    return parse_settings(BrokerSettings, path.read_text(), str(path))


def _render(settings: BrokerSettings, kind: Kind, source: Path, out: Path, *, is_check: bool) -> int:
    """Writes the files, or prints how those on disk differ from what they should be."""
    folder = source.parent.resolve()
    if settings.tls_listener is not None:
        settings = settings.model_copy(update={"tls_listener": settings.tls_listener.anchored(folder)})
    passwords = _read_passwords(settings, source) if kind.needs_passwords else {}
    salts = {name: secrets.token_bytes(mosquitto.SALT_BYTES) for name in passwords}
    if is_check:
        salts |= mosquitto.find_salts(_read_if_there(out / mosquitto.PASSWORD_FILE_NAME) or "")
    try:
        persistence = str(folder / settings.persistence.directory)
        files = build_files(kind, settings, str(out), persistence, Credentials(passwords, salts))
    except ValueError as error:
        raise ConfigurationError(str(source), [Fault("$", f"--kind {kind}: {error}")]) from error
    if is_check:
        return _check(files, out)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        _write_private(out / name, text)
    return 0


def _check(files: Mapping[str, str], out: Path) -> int:
    differences = list(find_differences(files, {name: _read_if_there(out / name) for name in files}))
    print("\n".join(differences) if differences else f"{out}: ok")
    return DIFFERENT if differences else 0


def _read_if_there(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _read_passwords(settings: BrokerSettings, source: Path) -> Mapping[str, str]:
    """The password of every user. Raises ConfigurationError with all files that give none."""
    passwords: dict[str, str] = {}
    faults: list[Fault] = []
    for path, user_name, file_name in settings.password_files():
        try:
            passwords[user_name] = _read_password(source.parent / file_name)
        except (OSError, ValueError) as error:
            faults.append(Fault(path, f"{file_name!r}: {error}"))
    if faults:
        raise ConfigurationError(str(source), faults)
    return passwords


def _read_password(path: Path) -> str:
    password = path.read_text().strip()
    if not password:
        raise ValueError("the file is empty; one password is wanted")
    return password


def _write_private(path: Path, text: str) -> None:
    """Writes whole or not at all, readable by the owner only."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def _version() -> str:
    try:
        return version("citysense")
    except PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    main()
