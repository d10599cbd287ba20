"""Builds a program from its Go module, once on a machine, in the cache (a shell)."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.errors import BuildError
from deploy.stack.server_cache import entry, making

PATIENCE_S: Final = 5400.0
"""A slow machine with one core still gets through."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """What is built of what."""

    title: str
    """For people: `InfluxDB 2.7.12`."""
    name: str
    version: str
    sources: tuple[Path, ...]
    """The recipe: module, sums, the programs that it keeps, and what else the build needs."""
    lasts: str
    """For people: how long it takes on 2 cores."""

    @property
    def folder(self) -> Path:
        """The entry in the cache; it exists if the program was built."""
        return entry(self.name, self.version, self.sources)

    @property
    def log(self) -> Path:
        """What the compiler says."""
        return Path(f"{self.folder}.log")

    def built(self, build: Callable[[Path], None]) -> Path:
        """The entry, filled by `build` if it is absent. Raises what that raises."""
        folder = self.folder
        if not folder.is_dir():
            with making(folder) as unfinished:
                if unfinished is not None:
                    build(unfinished)
        return folder

    @contextlib.contextmanager
    def building(self, folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
        """A copy of the sources in a folder of the unfinished entry; removed when the program is built."""
        began_s = time.monotonic()
        say(f"building {self.title}, once on this machine: about {self.lasts} on 2 cores ({self.log})")
        source = folder / "source"
        source.mkdir()
        for path in self.sources:
            shutil.copy(path, source)
        yield source
        shutil.rmtree(source)
        say(f"{self.title} is built, {time.monotonic() - began_s:.0f} s")

    def compile(self, go: str, arguments: tuple[str, ...], environment: Mapping[str, str], source: Path) -> None:
        """`go build` in a folder, its output added to the log. Raises BuildError."""
        with self.log.open("ab") as output:
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
            end = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
            raise BuildError(self.title, f"go build ended with exit code {done.returncode} ({self.log}):\n{end}")
