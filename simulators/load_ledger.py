"""The ledger of a load (shell): every reading that was committed, what was acknowledged, what was discarded.

One SQLite file, written before a batch is sent, and read by `city-simulator load-check`. It survives a `kill -9` of
the load (the system has the pages), not a power cut: nobody waits for a disk here.

| table        | holds                                                                                          |
|--------------|------------------------------------------------------------------------------------------------|
| run          | when it began and with which options                                                           |
| gateway      | number, gateway_id, district_id                                                                |
| channel      | gateway, bus, position → node_id, quantity, and how long before its batch it was measured      |
| batch        | gateway, epoch, batch, bus, due time, values (float64, NaN: none) and reasons (u8; NULL: good)   |
| acknowledged | gateway, epoch, batch, when                                                                    |
| discarded    | gateway, epoch, batch: beyond the spools' limit                                                |
| breach       | which condition must have become active: condition_id, node_id, quantity, value, from when     |
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulators.errors import LoadError
from simulators.load_fleet import LoadPlan
from simulators.load_spool import Batch

SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE run (version INTEGER NOT NULL, begun_ns INTEGER NOT NULL, options TEXT NOT NULL);
CREATE TABLE gateway (gateway INTEGER PRIMARY KEY, gateway_id TEXT NOT NULL, district_id TEXT NOT NULL);
CREATE TABLE channel (
    gateway INTEGER, bus INTEGER, position INTEGER, node_id TEXT NOT NULL, quantity TEXT NOT NULL,
    offset_ms INTEGER NOT NULL, PRIMARY KEY (gateway, bus, position)) WITHOUT ROWID;
CREATE TABLE batch (
    gateway INTEGER NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL, bus INTEGER NOT NULL,
    due_ms INTEGER NOT NULL, readings BLOB NOT NULL, reasons BLOB);
CREATE TABLE acknowledged (
    gateway INTEGER NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL, acknowledged_ns INTEGER NOT NULL);
CREATE TABLE discarded (gateway INTEGER NOT NULL, epoch INTEGER NOT NULL, batch INTEGER NOT NULL);
CREATE TABLE breach (
    condition_id TEXT NOT NULL, node_id TEXT NOT NULL, quantity TEXT NOT NULL, value REAL NOT NULL,
    first_ms INTEGER NOT NULL);
"""

BatchRow = tuple[int, Batch]
"""Number of the gateway in the plan, and a batch of it."""


@dataclass(frozen=True, slots=True)
class CommittedReadings:
    """What one gateway committed, as columns of one length."""

    gateway_id: str
    node_id: list[str]
    quantity: list[str]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]
    """NaN: none."""
    reason: NDArray[np.uint8]
    """contracts.quality.Reason."""
    state: list[str]
    """acknowledged, waiting, or discarded (by the load itself, beyond its limit)."""


class LoadLedger:
    """The writer. Raises LoadError if the file is there already."""

    def __init__(self, path: Path, plan: LoadPlan, begun_ns: int) -> None:
        if path.exists():
            raise LoadError(f"{path} is there already: a ledger tells of one run; give another name, or remove it")
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.executescript(_SCHEMA)
        self._acknowledged: list[tuple[int, int, int, int]] = []
        self._discarded: list[tuple[int, int, int]] = []
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.execute(
                "INSERT INTO run VALUES (?, ?, ?)", (SCHEMA_VERSION, begun_ns, json.dumps(asdict(plan.options)))
            )
            connection.executemany(
                "INSERT INTO gateway VALUES (?, ?, ?)",
                ((number, each.gateway_id, each.district_id) for number, each in enumerate(plan.gateways)),
            )
            connection.executemany("INSERT INTO channel VALUES (?, ?, ?, ?, ?, ?)", _channel_rows(plan))

    def note_acknowledged(self, gateway: int, batches: Iterable[Batch], now_ns: int) -> None:
        """To be written with the next commit."""
        self._acknowledged += [(gateway, *batch.key, now_ns) for batch in batches]

    def note_discarded(self, gateway: int, batches: Iterable[Batch]) -> None:
        """To be written with the next commit."""
        self._discarded += [(gateway, *batch.key) for batch in batches]

    def note_breach(self, row: tuple[str, str, str, float, int]) -> None:
        """condition_id, node_id, quantity, value, first_ms."""
        self._connection.execute("INSERT INTO breach VALUES (?, ?, ?, ?, ?)", row)

    def commit(self, batches: Sequence[BatchRow]) -> None:
        """Writes batches, and what was noted."""
        if not (batches or self._acknowledged or self._discarded):
            return
        with self._connection as connection:
            connection.execute("BEGIN")
            connection.executemany("INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", map(_batch_row, batches))
            connection.executemany("INSERT INTO acknowledged VALUES (?, ?, ?, ?)", self._acknowledged)
            connection.executemany("INSERT INTO discarded VALUES (?, ?, ?)", self._discarded)
        self._acknowledged.clear()
        self._discarded.clear()

    def close(self) -> None:
        """Writes what was noted, and closes."""
        self.commit(())
        self._connection.close()


class ReadLedger:
    """The reader. Raises LoadError if the file is no ledger."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise LoadError(f"{path}: there is no such ledger")
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            version = self._one("SELECT max(version) FROM run")
        except sqlite3.DatabaseError as error:
            raise LoadError(f"{path} is no ledger of a load: {error}") from error
        if version != SCHEMA_VERSION:
            raise LoadError(f"{path}: ledger of version {version}, this program knows {SCHEMA_VERSION}")

    def _one(self, query: str) -> int:
        return int(self._connection.execute(query).fetchone()[0] or 0)

    @property
    def gateway_ids(self) -> dict[int, str]:
        """By number."""
        return dict(self._connection.execute("SELECT gateway, gateway_id FROM gateway ORDER BY gateway"))

    @property
    def span_ms(self) -> tuple[int, int]:
        """No reading was measured before the first or after the second time."""
        spread_ms = self._one("SELECT max(offset_ms) FROM channel")
        return self._one("SELECT min(due_ms) FROM batch") - spread_ms, self._one("SELECT max(due_ms) FROM batch")

    @property
    def epochs(self) -> tuple[int, int]:
        """The lowest and the highest."""
        return self._one("SELECT min(epoch) FROM batch"), self._one("SELECT max(epoch) FROM batch")

    def index(self) -> None:
        """Loads the whole ledger into an order that `committed` can use: a copy in memory of its keys."""
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._connection.executescript(
            """
            CREATE TEMP TABLE place AS SELECT gateway, epoch, batch, rowid AS id FROM batch;
            CREATE INDEX temp.place_of ON place (gateway, epoch, batch);
            CREATE TEMP TABLE done (gateway, epoch, batch, PRIMARY KEY (gateway, epoch, batch)) WITHOUT ROWID;
            INSERT OR IGNORE INTO done SELECT gateway, epoch, batch FROM acknowledged;
            CREATE TEMP TABLE gone (gateway, epoch, batch, PRIMARY KEY (gateway, epoch, batch)) WITHOUT ROWID;
            INSERT OR IGNORE INTO gone SELECT gateway, epoch, batch FROM discarded;
            """
        )

    def committed(self, gateway: int) -> CommittedReadings:
        """What a gateway committed. Call `index` first."""
        channels = self._channels(gateway)
        node_ids: list[str] = []
        quantities: list[str] = []
        states: list[str] = []
        times, values, reasons = [], [], []
        for bus, due_ms, octets, reason_octets, state in self._batches(gateway):
            bus_nodes, bus_quantities, offsets_ms = channels[bus]
            count = len(bus_nodes)
            node_ids += bus_nodes
            quantities += bus_quantities
            times.append(due_ms - offsets_ms)
            values.append(np.frombuffer(octets, dtype="<f8"))
            reasons.append(
                np.zeros(count, np.uint8) if reason_octets is None else np.frombuffer(reason_octets, np.uint8)
            )
            states += [state] * count
        return CommittedReadings(
            self.gateway_ids[gateway],
            node_ids,
            quantities,
            np.concatenate([np.zeros(0, np.int64), *times]),
            np.concatenate([np.zeros(0), *values]),
            np.concatenate([np.zeros(0, np.uint8), *reasons]),
            states,
        )

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def _channels(self, gateway: int) -> dict[int, tuple[list[str], list[str], NDArray[np.int64]]]:
        """By bus: nodes, quantities and offsets, by position."""
        rows = self._connection.execute(
            "SELECT bus, node_id, quantity, offset_ms FROM channel WHERE gateway = ? ORDER BY bus, position", (gateway,)
        ).fetchall()
        found: dict[int, tuple[list[str], list[str], list[int]]] = {}
        for bus, node_id, quantity, offset_ms in rows:
            nodes, quantities, offsets = found.setdefault(bus, ([], [], []))
            nodes.append(node_id)
            quantities.append(quantity)
            offsets.append(offset_ms)
        return {bus: (nodes, names, np.array(offsets, np.int64)) for bus, (nodes, names, offsets) in found.items()}

    def _batches(self, gateway: int) -> Iterator[tuple[int, int, bytes, bytes | None, str]]:
        yield from self._connection.execute(
            """SELECT bus, due_ms, readings, reasons,
                      CASE WHEN done.batch IS NOT NULL THEN 'acknowledged'
                           WHEN gone.batch IS NOT NULL THEN 'discarded' ELSE 'waiting' END
               FROM place JOIN batch ON batch.rowid = place.id
               LEFT JOIN done USING (gateway, epoch, batch) LEFT JOIN gone USING (gateway, epoch, batch)
               WHERE place.gateway = ?""",
            (gateway,),
        )


def _channel_rows(plan: LoadPlan) -> Iterator[tuple[int, int, int, str, str, int]]:
    for number, gateway in enumerate(plan.gateways):
        for bus_number, bus in enumerate(gateway.buses):
            offsets = plan.offsets_ms(bus.channel_count)
            for position, (node_id, kind) in enumerate(bus.channels()):
                yield number, bus_number, position, node_id, kind.quantity, offsets[position]


def _batch_row(row: BatchRow) -> tuple[int, int, int, int, int, bytes, bytes | None]:
    gateway, batch = row
    reasons = None
    if batch.bad:
        column = np.zeros(len(batch.values), np.uint8)
        column[list(batch.bad)] = list(batch.bad.values())
        reasons = column.tobytes()
    return gateway, batch.epoch, batch.number, batch.bus, batch.due_ms, batch.values.astype("<f8").tobytes(), reasons
