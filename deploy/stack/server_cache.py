"""The cache of fetched and built servers, outside every checkout (a shell).

`$CITYSENSE_CACHE`, else `$XDG_CACHE_HOME/citysense/stack`, else `~/.cache/citysense/stack`. Each entry is a folder
named for the server, its version and a digest of its recipe, renamed into place when it is whole: a changed recipe
makes a new entry, an interrupted build leaves none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

RECIPES: Final = Path(__file__).parent
_DIGEST_LETTERS: Final = 12


def cache_folder() -> Path:
    """Where the entries stand."""
    if named := os.environ.get("CITYSENSE_CACHE"):
        return Path(named).resolve()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "citysense" / "stack"


def entry(name: str, version: str, recipe: Sequence[Path]) -> Path:
    """The folder of a server made by this recipe; it exists if the server was made."""
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in recipe)).hexdigest()
    return cache_folder() / f"{name}-{version}-{digest[:_DIGEST_LETTERS]}"


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path | None]:
    """A new folder to fill, which becomes the entry; None if somebody else has made it while we waited."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.is_dir():
            yield None
            return
        unfinished = Path(f"{folder}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        yield unfinished
        unfinished.rename(folder)
