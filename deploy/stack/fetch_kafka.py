"""Fetches Kafka's jars with Maven and checks each against `kafka/jars.sha256` (a shell)."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from deploy.errors import BuildError
from deploy.stack.recipe import KAFKA_VERSION
from deploy.stack.server_cache import RECIPES, entry, making

POM: Final = RECIPES / "kafka/pom.xml"
CHECKSUMS: Final = RECIPES / "kafka/jars.sha256"
PATIENCE_S: Final = 900.0


def kafka_entry() -> Path:
    """The folder of the jars."""
    return entry("kafka", KAFKA_VERSION, (POM, CHECKSUMS))


def fetch_kafka(maven: str, say: Callable[[str], None]) -> Path:
    """The folder of the jars, fetched if it is absent. Raises BuildError."""
    folder = kafka_entry()
    if not folder.is_dir():
        with making(folder) as unfinished:
            if unfinished is not None:
                say(f"fetching Kafka {KAFKA_VERSION} with Maven, once on this machine: about 10 s, 54 MB")
                _copy_jars(maven, unfinished)
                check_jars(unfinished, read_checksums(CHECKSUMS.read_text()))
    return folder


def check_jars(folder: Path, wanted: Mapping[str, str]) -> None:
    """Raises BuildError, naming them all, if a jar is missing, unknown or not what was pinned."""
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    wrong = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
    if wrong:
        names = ", ".join(wrong)
        raise BuildError("Kafka", f"not what deploy/stack/kafka/jars.sha256 says: {names}; nothing of it is used")


def read_checksums(text: str) -> dict[str, str]:
    """SHA-256 by file name, as sha256sum writes it."""
    pairs = (line.split() for line in text.splitlines())
    return {name: digest for digest, name in pairs}


def _copy_jars(maven: str, folder: Path) -> None:
    options = ("--batch-mode", "--quiet", "-Dstyle.color=never", "--file", str(POM))
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}")
    done = subprocess.run((maven, *options, *goal), capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    if done.returncode != 0:
        raise BuildError(
            "Kafka", f"Maven ended with exit code {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}"
        )
