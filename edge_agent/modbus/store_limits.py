"""The file that keeps what devices refuse over a restart (shell): a small JSON beside the spool.

It only saves learning: a file that is missing, corrupt or cannot be written costs some refused requests, never data,
so it is set aside or left with one line in the log.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from edge_agent.modbus.register_limits import LimitMemory, parse_memory

_log = logging.getLogger(__name__)


class LimitFile:
    """One file, read once and written when something was learnt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.memory = _read(path)
        self._written_revision = self.memory.revision

    def save(self) -> None:
        """Writes what was learnt since the last time: the whole file or nothing of it."""
        if self.memory.revision == self._written_revision:
            return
        self._written_revision = self.memory.revision
        fresh = self._path.with_name(self._path.name + ".new")
        try:
            fresh.write_text(json.dumps(self.memory.as_document(), indent=1) + "\n", encoding="utf-8")
            fresh.replace(self._path)
        except OSError as error:
            _log.warning("register_limits_not_kept path=%s error=%r", self._path, str(error))


def _read(path: Path) -> LimitMemory:
    try:
        return parse_memory(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return LimitMemory()
    except (OSError, ValueError) as error:
        _log.warning("register_limits_unusable path=%s error=%r", path, str(error))
        return LimitMemory()
