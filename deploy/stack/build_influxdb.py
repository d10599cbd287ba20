"""Builds InfluxDB 2 from its Go module, with the sums in `influxdb/go.sum` (a shell).

Its Flux engine is written in Rust: a helper of its makers, `pkg-config`, is built first, stands in for the system's by
the variable PKG_CONFIG, and compiles it on the way. A toolchain that is installed is used instead of the old one that
the engine asks for, and `influxdb/rustc_wrapper.sh` keeps new warnings from being errors (RUSTFLAGS does not reach
build dependencies).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.stack.go_program import GoProgram
from deploy.stack.recipe import INFLUXDB_VERSION
from deploy.stack.server_cache import RECIPES

SOURCES: Final = tuple(RECIPES / "influxdb" / name for name in ("go.mod", "go.sum", "programs.go", "rustc_wrapper.sh"))
HELPER: Final = "github.com/influxdata/pkg-config"
PROGRAM: Final = "github.com/influxdata/influxdb/v2/cmd/influxd"
TAGS: Final = "sqlite_foreign_keys,sqlite_json"
INFLUXDB: Final = GoProgram(f"InfluxDB {INFLUXDB_VERSION}", "influxdb", INFLUXDB_VERSION, SOURCES, "10 minutes")


def influxdb_entry() -> Path:
    """The folder of `influxd`."""
    return INFLUXDB.folder


def build_influxdb(go: str, say: Callable[[str], None]) -> Path:
    """The program `influxd`, built if it is absent. Raises BuildError."""
    return INFLUXDB.built(lambda folder: _build(go, folder, say)) / "influxd"


def _build(go: str, folder: Path, say: Callable[[str], None]) -> None:
    helper = folder / "pkg-config"
    with INFLUXDB.building(folder, say) as source:
        wrapper = source / "rustc_wrapper.sh"
        wrapper.chmod(0o755)
        environment = {**os.environ, "GOFLAGS": "-mod=readonly -trimpath", "RUSTC_WRAPPER": str(wrapper)}
        if toolchain := _rust_toolchain():
            environment["RUSTUP_TOOLCHAIN"] = toolchain
        INFLUXDB.compile(go, ("-o", str(helper), HELPER), environment, source)
        flags = f"-s -w -X main.version=v{INFLUXDB_VERSION}"
        options = ("-tags", TAGS, "-ldflags", flags, "-o", str(folder / "influxd"))
        INFLUXDB.compile(go, (*options, PROGRAM), {**environment, "PKG_CONFIG": str(helper)}, source)
    helper.unlink()


def _rust_toolchain() -> str | None:
    """The installed default toolchain; None without rustup, where there is only one."""
    rustup = shutil.which("rustup")
    if rustup is None:
        return None
    command = (rustup, "show", "active-toolchain")
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/").stdout.split()
    return shown[0] if shown else None
