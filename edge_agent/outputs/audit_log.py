"""The audit log (shell: files, time): who switched what, when and why, one JSON object a line.

    {"time": "2026-11-23T03:04:05.678Z", "what": "write", "who": "host", "target": "siren/horn", "value": 1.0,
     "why": "DCMD on rs485-1", "outcome": "done"}

A line is on the disk (fsync) when `record` returns. When the file has grown to its limit it becomes `<name>.1`, the
former `.1` becomes `.2`, and so on; the oldest goes. A line is never torn by that.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

MAX_BYTES: Final = 1 << 20
KEPT_FILES: Final = 5
"""Former files beside the one that is written to."""


class AuditLog:
    """Appends lines, one at a time."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        """Opens nothing yet.

        Args:
            path: of the file; its folder is made if it is not there.
            max_bytes: a line that would make the file longer begins a new one.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._lock = asyncio.Lock()

    async def record(self, what: str, who: str, target: str, value: object, why: str, outcome: str) -> None:
        """Writes a line. Raises OSError: then it is not there.

        Args:
            what: `write`, `output`, or `reread`.
            who: `host`, or `local`.
            target: the actuator's metric, the output or the file.
            value: what it was to become.
            why: the command or the reading that asked for it.
            outcome: `asked`, `done`, or what went wrong.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {"time": time, "what": what, "who": who, "target": target, "value": value, "why": why}
        line = json.dumps({**fields, "outcome": outcome}, ensure_ascii=False) + "\n"
        async with self._lock:
            await asyncio.to_thread(self._append, line.encode())

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size + len(line) > self._max_bytes:
            self._rotate()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if os.write(descriptor, line) < len(line):
                os.ftruncate(descriptor, size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _rotate(self) -> None:
        names = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, KEPT_FILES + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)
