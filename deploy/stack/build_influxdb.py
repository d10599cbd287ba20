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
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from deploy.errors import BuildError
from deploy.stack.recipe import INFLUXDB_VERSION
from deploy.stack.server_cache import RECIPES, entry, making

SOURCES: Final = tuple(RECIPES / "influxdb" / name for name in ("go.mod", "go.sum", "programs.go", "rustc_wrapper.sh"))
HELPER: Final = "github.com/influxdata/pkg-config"
PROGRAM: Final = "github.com/influxdata/influxdb/v2/cmd/influxd"
TAGS: Final = "sqlite_foreign_keys,sqlite_json"
PATIENCE_S: Final = 5400.0
"""A slow machine with one core still gets through."""


def influxdb_entry() -> Path:
    """The folder of `influxd`."""
    return entry("influxdb", INFLUXDB_VERSION, SOURCES)


def build_influxdb(go: str, say: Callable[[str], None]) -> Path:
    """The program `influxd`, built if it is absent. Raises BuildError."""
    folder = influxdb_entry()
    if not folder.is_dir():
        with making(folder) as unfinished:
            if unfinished is not None:
                _build(go, unfinished, say)
    return folder / "influxd"


def _build(go: str, folder: Path, say: Callable[[str], None]) -> None:
    began_s = time.monotonic()
    log = Path(f"{influxdb_entry()}.log")
    say(f"building InfluxDB {INFLUXDB_VERSION}, once on this machine: about 10 minutes on 2 cores ({log})")
    source = folder / "source"
    source.mkdir()
    for path in SOURCES:
        shutil.copy(path, source)
    wrapper = source / "rustc_wrapper.sh"
    wrapper.chmod(0o755)
    environment = {**os.environ, "GOFLAGS": "-mod=readonly -trimpath", "RUSTC_WRAPPER": str(wrapper)}
    if toolchain := _rust_toolchain():
        environment["RUSTUP_TOOLCHAIN"] = toolchain
    helper = folder / "pkg-config"
    go_build(go, ("-o", str(helper), HELPER), environment, source, log)
    flags = f"-s -w -X main.version=v{INFLUXDB_VERSION}"
    options = ("-tags", TAGS, "-ldflags", flags, "-o", str(folder / "influxd"))
    go_build(go, (*options, PROGRAM), {**environment, "PKG_CONFIG": str(helper)}, source, log)
    shutil.rmtree(source)
    helper.unlink()
    say(f"InfluxDB {INFLUXDB_VERSION} is built, {time.monotonic() - began_s:.0f} s")


def go_build(go: str, arguments: tuple[str, ...], environment: Mapping[str, str], source: Path, log: Path) -> None:
    """`go build` in a folder, its output added to `log`. Raises BuildError."""
    with log.open("ab") as output:
        done = subprocess.run(
            (go, "build", *arguments),
            cwd=source,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=PATIENCE_S,
        )
    if done.returncode != 0:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise BuildError("InfluxDB", f"go build ended with exit code {done.returncode} ({log}):\n{end}")


def _rust_toolchain() -> str | None:
    """The installed default toolchain; None without rustup, where there is only one."""
    rustup = shutil.which("rustup")
    if rustup is None:
        return None
    command = (rustup, "show", "active-toolchain")
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/").stdout.split()
    return shown[0] if shown else None
