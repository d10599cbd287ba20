"""The versions of a configuration file, and which of them is known to be good (shell: files).

A folder holds the texts (`7.toml`) and `state.json`; it must be writable, which the file's own folder need not be. The
file that the engineer edits is never written by us. What was tried and failed is remembered by its digest, so that a
restart does not try it again; edited, it is a new version and gets a new trial.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

KEPT_VERSIONS: Final = 20
KEPT_REFUSALS: Final = 50


@dataclass(frozen=True, slots=True)
class VersionState:
    """What is known of the versions."""

    newest: int = 0
    """The number of the last version that was taken in; 0: none."""
    good: int = 0
    """The last known good one; 0: none yet."""
    failed: tuple[str, ...] = ()
    """Digests of texts whose trial failed."""
    flowed: tuple[str, ...] = ()
    """What was flowing at the last look (`configuration_trial`)."""


class ConfigurationVersions:
    """Of one configuration file. A damaged `state.json` counts as none: nothing is known to be good then."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = self._read_state()

    def take_in(self, text: str) -> int:
        """Keeps a text as a version; gives its number, the same one for the text of the newest version."""
        if self.state.newest and self.text(self.state.newest) == text:
            return self.state.newest
        number = self.state.newest + 1
        self._write(f"{number}.toml", text)
        self._keep(replace(self.state, newest=number))
        self._forget_old()
        return number

    def text(self, number: int) -> str | None:
        """The text of a version; None if it is not there any more."""
        try:
            return (self._folder / f"{number}.toml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def good_text(self) -> str | None:
        """The text of the last known good version."""
        return self.text(self.state.good) if self.state.good else None

    def has_failed(self, text: str) -> bool:
        """Whether exactly this text was tried, and failed."""
        return _digest(text) in self.state.failed

    def pass_trial(self, number: int) -> None:
        """This version is the last known good one from now on."""
        self._keep(replace(self.state, good=number))

    def fail_trial(self, number: int) -> None:
        """The text of this version is not tried again."""
        if (text := self.text(number)) is not None:
            self._keep(replace(self.state, failed=(*self.state.failed, _digest(text))[-KEPT_REFUSALS:]))

    def note_flows(self, flows: Iterable[str]) -> None:
        """What flows now; written only if that has changed."""
        flowed = tuple(sorted(flows))
        if flowed != self.state.flowed:
            self._keep(replace(self.state, flowed=flowed))

    def _keep(self, state: VersionState) -> None:
        self.state = state
        self._write("state.json", json.dumps(asdict(state), indent=1))

    def _read_state(self) -> VersionState:
        try:
            document: dict[str, Any] = json.loads((self._folder / "state.json").read_text(encoding="utf-8"))
            return VersionState(
                int(document["newest"]),
                int(document["good"]),
                tuple(map(str, document["failed"])),
                tuple(map(str, document["flowed"])),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return VersionState(newest=self._highest_number())

    def _highest_number(self) -> int:
        """So that a lost state never makes a number mean two texts."""
        names = [path.stem for path in self._folder.glob("*.toml")]
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _forget_old(self) -> None:
        numbers = [int(path.stem) for path in self._folder.glob("*.toml") if path.stem.isdecimal()]
        for number in numbers:
            if number <= self.state.newest - KEPT_VERSIONS and number != self.state.good:
                (self._folder / f"{number}.toml").unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        """Whole or not at all, also when the power fails."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = self._folder / f"{name}.unfinished"
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(self._folder / name)
        directory = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
