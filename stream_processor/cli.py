"""`stream-processor run | check-config`."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import logging
import sys
import time
from pathlib import Path

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError, Fault
from stream_processor.configuration import StreamProcessorSettings, with_absolute_paths
from stream_processor.embedded import run_embedded
from stream_processor.errors import StoreError

EXIT_BAD_CONFIGURATION = 2
EXIT_STORE = 3


def main() -> None:
    """Entry point."""
    options = _parse_arguments()
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


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("stream-processor", description="Sparkplug host, quality, scores, alarms.")
    parser.add_argument("--version", action="version", version=f"stream-processor {_version()}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("run", "run the embedded engine"), ("check-config", "name every fault of a configuration")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--config", type=Path, required=True, help="TOML file, see example.toml")
    return parser.parse_args()


def _version() -> str:
    try:
        return importlib.metadata.version("citysense")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


if __name__ == "__main__":
    main()
