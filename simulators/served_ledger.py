"""The served ledger: one JSON line for each reading that left the simulator. A shell: appends to a file.

    {"time_ns": …, "bus_id": …, "device_id": …, "node_id": …, "quantity": …, "address": …, "raw": "hex", "value": …}

Written before the answer goes out, unbuffered: what a client can have seen stands in the file, even if the simulator is
killed. `device_id` is 0 on a serial sensor's line.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from simulators.field_device import ServedReading


class LedgerLine(NamedTuple):
    """One line, read back."""

    time_ns: int
    bus_id: str
    device_id: int
    node_id: str
    quantity: str
    address: int
    raw: str
    value: float


class ServedLedger:
    """An open ledger file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("ab", buffering=0)

    def append(self, time_ns: int, bus_id: str, device_id: int, served: Sequence[ServedReading]) -> None:
        """Writes the readings of one answer, in one write."""
        if served:
            rows = (
                LedgerLine(time_ns, bus_id, device_id, one.node_id, one.quantity, one.address, one.raw.hex(), one.value)
                for one in served
            )
            self._file.write(b"".join(json.dumps(row._asdict()).encode() + b"\n" for row in rows))

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_served_ledger(path: Path) -> list[LedgerLine]:
    """All whole lines of a ledger; a last line that a kill cut off is left out."""
    whole = path.read_bytes().rpartition(b"\n")[0]
    return [LedgerLine(**json.loads(line)) for line in whole.splitlines()]
