"""Compares the ledger of a load with what was stored (shell): in Parquet, in InfluxDB, or on Kafka.

Parquet is read by DuckDB, InfluxDB over its HTTP API, and Kafka's scored messages as contracts.record_message says;
nothing else of the platform takes part. The ledger's columns and the store's rows are joined by node, quantity and
phenomenon time. Gateways are compared in groups, so that memory stays bounded.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
from aiokafka.errors import KafkaError

from contracts.errors import RecordError
from contracts.fleet import FleetSnapshot
from contracts.quality import Level, Reason, level_of
from simulators.errors import LoadError
from simulators.load_check import Differences
from simulators.load_ledger import CommittedReadings, ReadLedger
from simulators.read_scored import read_scored

GROUP_READINGS: Final = 1_000_000
"""About so many readings are compared at a time; a million takes some 500 MB."""
INFLUX_PATIENCE_S: Final = 120.0
KINDS: Final = ("missing", "missing_unacknowledged", "double", "altered", "unknown")

_NOBODY_SPEAKS: Final = {int(Reason.BUS_LOST), int(Reason.GATEWAY_LOST), int(Reason.STALE)}
"""A point with such a reason and no value is the platform's note of a death, no reading."""

StoredRows = Callable[[duckdb.DuckDBPyConnection, list[str]], None]
"""Makes the view `stored` (node_id, quantity, time_ms, value, reason) of some gateways; a reason of NULL: not told."""

_JOIN: Final = """
CREATE OR REPLACE TEMP TABLE compared AS
WITH once AS (
    SELECT node_id, quantity, time_ms, count(*) AS copies, any_value(value) AS value, any_value(reason) AS reason
    FROM stored GROUP BY node_id, quantity, time_ms)
SELECT coalesce(c.node_id, s.node_id) AS node_id, coalesce(c.quantity, s.quantity) AS quantity,
       coalesce(c.time_ms, s.time_ms) AS time_ms, c.value AS committed_value, s.value AS stored_value,
       c.reason AS committed_reason, s.reason AS stored_reason, coalesce(s.copies, 0) AS copies, c.state AS state,
       CASE WHEN c.node_id IS NULL THEN 'unknown'
            WHEN s.node_id IS NULL AND c.state = 'acknowledged' THEN 'missing'
            WHEN s.node_id IS NULL AND c.state = 'waiting' THEN 'missing_unacknowledged'
            WHEN s.node_id IS NULL THEN 'not_stored'
            WHEN s.copies > 1 THEN 'double'
            WHEN s.value IS DISTINCT FROM c.value THEN 'altered'
            WHEN s.reason = c.reason OR s.reason IS NULL THEN 'same'
            WHEN c.reason = $ok AND list_contains($uncertain, s.reason) THEN 'doubted'
            ELSE 'altered' END AS kind
FROM committed c FULL OUTER JOIN once s
ON c.node_id = s.node_id AND c.quantity = s.quantity AND c.time_ms = s.time_ms
"""
"""A good reading that the platform's quality control doubts (a step, a clock) is as it was: its value is the same."""
_UNCERTAIN: Final = [int(reason) for reason in Reason if level_of(reason) is Level.UNCERTAIN]


def check_parquet(ledger_path: Path, pattern: str, examples_max: int) -> Differences:
    """Compares with Parquet files (`pattern` is a DuckDB glob). Raises LoadError if either cannot be read."""
    ledger = ReadLedger(ledger_path)
    first_epoch, last_epoch = ledger.epochs

    def make_view(connection: duckdb.DuckDBPyConnection, gateway_ids: list[str]) -> None:
        source = f"read_parquet({_text(pattern)}, hive_partitioning = true, union_by_name = true)"
        columns = dict(connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE FROM {source})").fetchall())  # noqa: S608  # quoted above
        names = ", ".join(map(_text, gateway_ids))
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW stored AS
                SELECT node_id, quantity, epoch_ns(phenomenon_time) // 1000000 AS time_ms, value,
                       {_reason_code(columns.get("reason"))} AS reason
                FROM {source} WHERE gateway_id IN ({names}) AND epoch BETWEEN {first_epoch} AND {last_epoch}"""  # noqa: S608  # quoted above
        )

    return _check(ledger, make_view, examples_max)


def check_influx(ledger_path: Path, url: str, database: str, token: str | None, examples_max: int) -> Differences:
    """Compares with the raw points of an InfluxDB. Raises LoadError if either cannot be read."""
    ledger = ReadLedger(ledger_path)
    span_ms = ledger.span_ms

    def make_view(connection: duckdb.DuckDBPyConnection, gateway_ids: list[str]) -> None:
        rows = [row for each in gateway_ids for row in _influx_rows(url, database, token, each, span_ms)]
        node_id, quantity, time_ms, value, reason = zip(*rows, strict=True) if rows else ((),) * 5
        table = pa.table(
            {
                "node_id": pa.array(node_id, pa.string()),
                "quantity": pa.array(quantity, pa.string()),
                "time_ms": pa.array(time_ms, pa.int64()),
                "value": pa.array(value, pa.float64()),
                "reason": pa.array(reason, pa.int64()),
            }
        )
        connection.register("stored", table)

    return _check(ledger, make_view, examples_max)


def check_kafka(ledger_path: Path, address: str, fleet_path: Path, examples_max: int) -> Differences:
    """Compares with what the score job has written. Raises LoadError if anything cannot be read."""
    ledger = ReadLedger(ledger_path)
    try:
        fleet = FleetSnapshot.model_validate_json(fleet_path.read_bytes())
        scored = read_scored(address, set(ledger.gateway_ids.values()), ledger.epochs)
    except (OSError, ValueError, KafkaError, RecordError) as error:
        raise LoadError(f"what was scored cannot be read: {error}") from error
    names = pa.table(
        {
            "channel_id": pa.array([each.channel_id for each in fleet.channels], pa.uint32()),
            "node_id": [each.node_id for each in fleet.channels],
            "quantity": [each.quantity for each in fleet.channels],
        }
    )

    def make_view(connection: duckdb.DuckDBPyConnection, gateway_ids: list[str]) -> None:
        connection.register("scored", scored)
        connection.register("names", names)
        connection.execute(
            f"""CREATE OR REPLACE TEMP VIEW stored AS
                SELECT coalesce(node_id, 'channel ' || channel_id) AS node_id, quantity, time_ms, value, reason
                FROM scored LEFT JOIN names USING (channel_id)
                WHERE gateway_id IN ({", ".join(map(_text, gateway_ids))})"""  # noqa: S608  # quoted above
        )

    return _check(ledger, make_view, examples_max)


def _check(ledger: ReadLedger, make_view: StoredRows, examples_max: int) -> Differences:
    total = Differences()
    ledger.index()
    with duckdb.connect() as connection:
        reasons = {"name": [reason.wire_name for reason in Reason], "code": [int(reason) for reason in Reason]}
        connection.register("reason_code", pa.table(reasons))
        for group in _groups(ledger):
            connection.register("committed", pa.concat_tables(map(_committed_table, group)))
            try:
                make_view(connection, [each.gateway_id for each in group])
                total.add(_compare(connection, examples_max), examples_max)
            except (duckdb.Error, OSError, urllib.error.URLError) as error:
                raise LoadError(f"what was stored cannot be read: {error}") from error
    ledger.close()
    return total


def _groups(ledger: ReadLedger) -> Iterator[list[CommittedReadings]]:
    group: list[CommittedReadings] = []
    for number in ledger.gateway_ids:
        group.append(ledger.committed(number))
        if sum(len(each.time_ms) for each in group) >= GROUP_READINGS:
            yield group
            group = []
    if group:
        yield group


def _committed_table(readings: CommittedReadings) -> pa.Table:
    return pa.table(
        {
            "node_id": pa.array(readings.node_id, pa.string()),
            "quantity": pa.array(readings.quantity, pa.string()),
            "time_ms": readings.time_ms,
            "value": pa.array(readings.value, mask=np.isnan(readings.value)),
            "reason": pa.array(readings.reason.astype(np.int64)),
            "state": pa.array(readings.state, pa.string()),
        }
    )


def _compare(connection: duckdb.DuckDBPyConnection, examples_max: int) -> Differences:
    connection.execute(_JOIN, {"ok": int(Reason.OK), "uncertain": _UNCERTAIN})
    counts = dict(connection.execute("SELECT kind, count(*) FROM compared GROUP BY kind").fetchall())
    totals = connection.execute(
        """SELECT count(*) FILTER (state IN ('acknowledged', 'waiting')), coalesce(sum(copies), 0)::BIGINT,
                  count(*) FILTER (state = 'discarded') FROM compared"""
    ).fetchone()
    assert totals is not None  # aggregates always give a row
    examples = connection.execute(
        f"""SELECT kind, node_id, quantity, time_ms, committed_value, committed_reason, stored_value, stored_reason,
                   copies
            FROM compared WHERE kind IN ({", ".join(map(_text, KINDS))})
            QUALIFY row_number() OVER (PARTITION BY kind ORDER BY time_ms) <= ? ORDER BY kind, time_ms""",  # noqa: S608  # KINDS
        [examples_max],
    ).fetchall()
    return Differences(
        committed=totals[0],
        stored=totals[1],
        missing=counts.get("missing", 0),
        missing_unacknowledged=counts.get("missing_unacknowledged", 0),
        double=counts.get("double", 0),
        altered=counts.get("altered", 0),
        unknown=counts.get("unknown", 0),
        doubted=counts.get("doubted", 0),
        discarded=totals[2],
        examples=[_example(*row) for row in examples],
    )


def _example(kind: str, node_id: str, quantity: str, time_ms: int, *columns: object) -> str:
    value, reason, stored_value, stored_reason, copies = columns
    return (
        f"{kind}: {node_id}/{quantity} at {time_ms} ms: committed {value} (reason {reason}), "
        f"stored {stored_value} (reason {stored_reason}), {copies} times"
    )


def _reason_code(column_type: str | None) -> str:
    """SQL for the code of a reason, whatever the files hold: names, codes, or nothing."""
    if column_type is None:
        return "NULL::BIGINT"
    if column_type == "VARCHAR" or column_type.startswith("ENUM"):
        return "(SELECT code FROM reason_code WHERE name = reason::VARCHAR)"
    return "reason::BIGINT"


def _text(text: str) -> str:
    """An SQL string."""
    return "'" + text.replace("'", "''") + "'"


def _influx_rows(
    url: str, database: str, token: str | None, gateway_id: str, span_ms: tuple[int, int]
) -> Iterator[tuple[str, str, int, float | None, int]]:
    """node_id, quantity, time, value, reason of each point of a gateway."""
    query = (
        f'SELECT "value", "bad_value", "quality" FROM /.*/ WHERE "gateway" = {_text(gateway_id)} '  # noqa: S608  # an identifier
        f'AND time >= {span_ms[0]}ms AND time <= {span_ms[1]}ms GROUP BY "node", "quantity"'
    )
    form = urllib.parse.urlencode({"db": database, "epoch": "ms", "q": query})
    headers = {} if token is None else {"Authorization": f"Token {token}"}
    request = urllib.request.Request(f"{url.rstrip('/')}/query?{form}", headers=headers)  # noqa: S310  # the user's URL
    with urllib.request.urlopen(request, timeout=INFLUX_PATIENCE_S) as answer:  # noqa: S310  # the user's URL
        results: list[dict[str, Any]] = json.load(answer)["results"]
    for result in results:
        if "error" in result:
            raise LoadError(f"InfluxDB: {result['error']}")
        for series in result.get("series", []):
            for time_ms, value, bad_value, quality in series["values"]:
                shown = bad_value if value is None else value
                if shown is not None or quality not in _NOBODY_SPEAKS:
                    yield series["tags"]["node"], series["tags"]["quantity"], time_ms, shown, int(quality or 0)
