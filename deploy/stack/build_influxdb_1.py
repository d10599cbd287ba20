"""Builds InfluxDB 1.8 from its Go module, with the sums in `influxdb_1/go.sum`: for tests (a shell).

Cities that have a 1.8 keep it: what we write to it and ask of it is tried on the real one. `make stack` starts 2.x.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.errors import BuildError
from deploy.stack.go_program import GoProgram
from deploy.stack.server_cache import RECIPES

INFLUXDB_1_VERSION: Final = "1.8.10"
SOURCES: Final = tuple(RECIPES / "influxdb_1" / name for name in ("go.mod", "go.sum", "programs.go"))
PROGRAM: Final = "github.com/influxdata/influxdb/cmd/influxd"
INFLUXDB_1: Final = GoProgram(f"InfluxDB {INFLUXDB_1_VERSION}", "influxdb", INFLUXDB_1_VERSION, SOURCES, "a minute")
EXIT_TOOLS_MISSING: Final = 3


def influxdb_1_entry() -> Path:
    """The folder of `influxd`."""
    return INFLUXDB_1.folder


def build_influxdb_1(go: str, say: Callable[[str], None]) -> Path:
    """The program `influxd`, built if it is absent. Raises BuildError."""
    return INFLUXDB_1.built(lambda folder: _build(go, folder, say)) / "influxd"


def _build(go: str, folder: Path, say: Callable[[str], None]) -> None:
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -trimpath"}
    flags = f"-s -w -X main.version={INFLUXDB_1_VERSION}"
    with INFLUXDB_1.building(folder, say) as source:
        INFLUXDB_1.compile(go, ("-ldflags", flags, "-o", str(folder / "influxd"), PROGRAM), environment, source)


def main() -> None:
    """`python -m deploy.stack.build_influxdb_1`, as `.ci/run` does."""
    go = shutil.which("go")
    if go is None and not influxdb_1_entry().is_dir():
        print("InfluxDB 1.8, for tests: go not installed (Debian: apt install golang)", file=sys.stderr)
        sys.exit(EXIT_TOOLS_MISSING)
    try:
        print(build_influxdb_1(go or "go", print))
    except BuildError as error:
        print(error, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
