"""`stream-processor`: embedded engine, roles of the distributed one, tools (`decode`, `rebuild`, `score`, `backtest`).

`run` is the embedded engine. The roles are the processes of the distributed one: each is a module with a `Settings`
class and `run(settings)`, which is imported when it is asked for. `score` with a file instead of a configuration, and
`backtest`, are trials on an engineer's own records (`stream_processor.trial`): they ask no server.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import importlib.metadata
import logging
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Final

from contracts.configuration import Settings, parse_settings
from contracts.errors import ConfigurationError, Fault, PayloadError
from stream_processor.configuration import StreamProcessorSettings, with_absolute_paths
from stream_processor.decode_text import decode_message, parse_hex
from stream_processor.errors import StoreError, TrialError
from stream_processor.trial.arguments import add_backtest_arguments, add_score_arguments

EXIT_BAD_MESSAGE = 1
EXIT_TRIAL = 1
EXIT_BAD_CONFIGURATION = 2
EXIT_STORE = 3
EMBEDDED: Final = "embedded"
ROLES: Final = {
    "bridge": "Sparkplug host: from the broker to Kafka",
    "score": "quality, scores and alarm conditions: a Faust worker with state; with FILE: scores of any table",
    "store": "to InfluxDB, then acknowledgements: a Faust worker",
    "archive": "to Parquet: a Faust worker",
    "waveform": "waveforms to Parquet: a Faust worker",
    "read": "the read API for the console",
    "rebuild": "refill InfluxDB from Parquet, then end",
}
"""The processes of the distributed engine: `stream_processor.distributed.<role>_process`."""


TRIALS: Final = {"score": "try_scores", "backtest": "try_rule"}
"""Commands that need no server: `stream_processor.trial.<module>.run(options)`."""


def main() -> None:
    """Entry point."""
    options = _parse_arguments()
    if options.command == "decode":
        _decode(options)
        return
    if options.command in TRIALS and options.config is None:
        _try(options)
        return
    role = options.role if options.command == "check-config" else options.command
    try:
        settings = read_settings(options.config) if role in {EMBEDDED, "run"} else _read_role(role, options.config)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_BAD_CONFIGURATION)
    if options.command == "check-config":
        print(f"{options.config}: ok")
        return
    logging.Formatter.converter = time.gmtime
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # It writes ten lines a second while Kafka is away. That it is away is said once, by whoever waits for it.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    if not isinstance(settings, StreamProcessorSettings):
        sys.exit(_module_of(role).run(settings))
    from stream_processor.embedded import run_embedded  # noqa: PLC0415  # brings DuckDB, which no other role needs

    try:
        asyncio.run(run_embedded(settings))
    except StoreError as error:
        print(f"stream-processor: {error}", file=sys.stderr)
        sys.exit(EXIT_STORE)


def read_settings(path: Path) -> StreamProcessorSettings:
    """Reads a configuration; relative paths in it are relative to it. Raises ConfigurationError."""
    return with_absolute_paths(parse_settings(StreamProcessorSettings, _read_text(path), str(path)), path.parent)


def _read_role(role: str, path: Path) -> Settings:
    """The settings of a role; `anchored(folder)` makes its relative paths absolute. Raises ConfigurationError."""
    model = _module_of(role).ProcessSettings
    settings: Settings = parse_settings(model, _read_text(path), str(path)).anchored(path.parent)
    return settings


def _module_of(role: str) -> ModuleType:
    return importlib.import_module(f"stream_processor.distributed.{role}_process")


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error


def _try(options: argparse.Namespace) -> None:
    """Runs a trial, or says on stderr why it cannot."""
    try:
        importlib.import_module(f"stream_processor.trial.{TRIALS[options.command]}").run(options)
    except TrialError as error:
        print(f"stream-processor {options.command}: {error}", file=sys.stderr)
        sys.exit(EXIT_TRIAL)
    except BrokenPipeError:  # `| head` has seen enough; what is left must not be flushed into the same pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _decode(options: argparse.Namespace) -> None:
    """Prints a message as JSON, and each fault of it on stderr."""
    try:
        payload = _read_payload(options)
    except (PayloadError, OSError) as error:
        print(f"payload: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_MESSAGE)
    decoded = decode_message(options.topic, payload)
    if decoded.text is not None:
        print(decoded.text)
    for fault in decoded.faults:
        print(fault, file=sys.stderr)
    if decoded.faults:
        sys.exit(EXIT_BAD_MESSAGE)


def _read_payload(options: argparse.Namespace) -> bytes:
    if options.file is not None:
        path: Path = options.file
        return path.read_bytes()
    if options.payload == "-":
        return sys.stdin.buffer.read()
    return parse_hex(options.payload)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("stream-processor", description="Sparkplug host, quality, scores, alarms.")
    parser.add_argument("--version", action="version", version=f"stream-processor {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    words = {"run": "run the embedded engine", **ROLES, "check-config": "name every fault of a configuration"}
    for name, text in words.items():
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, required=name not in TRIALS, help="TOML file, see example.toml")
        if name == "score":
            add_score_arguments(command)
        if name == "check-config":
            roles = (EMBEDDED, *ROLES)
            command.add_argument(
                "--role", choices=roles, default=EMBEDDED, help="whose file it is (default: %(default)s)"
            )
    backtest = commands.add_parser("backtest", help="how often a rule would have fired over stored history")
    backtest.set_defaults(config=None)
    add_backtest_arguments(backtest)
    decode = commands.add_parser(
        "decode",
        help="a Sparkplug message as JSON, or what is wrong with it and where (exit code 1)",
        epilog="From a broker: mosquitto_sub -t TOPIC -C 1 -N | stream-processor decode TOPIC -",
    )
    decode.add_argument("topic", metavar="TOPIC", help="for example spBv1.0/harbour/DDATA/gw-1/rtu")
    source = decode.add_mutually_exclusive_group(required=True)
    source.add_argument("payload", metavar="PAYLOAD_HEX", nargs="?", help="hexadecimal digits, or - for standard input")
    source.add_argument("--file", metavar="F", type=Path, help="a file with the payload's bytes")
    return parser.parse_args()


def _version() -> str:
    try:
        return importlib.metadata.version("citysense")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    main()
