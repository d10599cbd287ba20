"""The file that keeps the state of local alarms over a restart (shell): a small JSON beside the spool.

It is written when a condition or an output has changed, after the output was told: a siren waits for no disk. A file
that is missing or corrupt means that nothing is known, and one line in the log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_agent.outputs.local_alarm import LocalAlarms

RETRY_S: Final = 10.0
"""A disk that refuses is asked again after this time."""

_log = logging.getLogger(__name__)


class AlarmFile:
    """One file, read once and written when something has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = asyncio.Event()

    def read(self) -> Mapping[str, Any]:
        """What was kept; nothing if there is no such file, or if it is not ours."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            _log.error("local_alarms_unusable path=%s error=%r", self._path, str(error))
            return {}
        return document if isinstance(document, dict) else {}

    def note_change(self) -> None:
        """Something has changed: it is written as soon as `run` has its turn."""
        self._changed.set()

    async def run(self, alarms: LocalAlarms) -> None:
        """Writes what changes, until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            text = json.dumps(alarms.as_document(), indent=1)
            try:
                await asyncio.to_thread(self._write, text)
            except OSError as error:
                _log.error("local_alarms_not_kept path=%s error=%r", self._path, str(error))
                await asyncio.sleep(RETRY_S)
                self._changed.set()

    def _write(self, text: str) -> None:
        """Whole or not at all, also when the power fails."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f"{self._path.name}.new")
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
