"""`stream-processor run | check-config | decode`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import sys
import time
from pathlib import Path

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError, Fault, PayloadError
from stream_processor.configuration import StreamProcessorSettings, with_absolute_paths
from stream_processor.decode_text import decode_message, parse_hex
from stream_processor.embedded import run_embedded
from stream_processor.errors import StoreError

EXIT_BAD_MESSAGE = 1
EXIT_BAD_CONFIGURATION = 2
EXIT_STORE = 3


def main() -> None:
    """Entry point."""
    options = _parse_arguments()
    if options.command == "decode":
        _decode(options)
        return
    try:
        settings = read_settings(options.config)
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
    try:
        asyncio.run(run_embedded(settings))
    except StoreError as error:
        print(f"stream-processor: {error}", file=sys.stderr)
        sys.exit(EXIT_STORE)


def read_settings(path: Path) -> StreamProcessorSettings:
    """Reads a configuration; relative paths in it are relative to it. Raises ConfigurationError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(str(path), [Fault("$", f"cannot be read: {error}")]) from error
    return with_absolute_paths(parse_settings(StreamProcessorSettings, text, str(path)), path.parent)


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
    for name, text in (("run", "run the embedded engine"), ("check-config", "name every fault of a configuration")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, required=True, help="TOML file, see example.toml")
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
