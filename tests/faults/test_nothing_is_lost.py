"""Promise 1: what a gateway has committed to its spool is stored, each reading once, whoever is killed in between.

The witness is a trigger in the agents' spool files (simulators/spool_ledger.py): it keeps what was committed, in the
same transaction, after the agent has deleted what was acknowledged. The stream processor's store is read when all has
stopped.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

import duckdb
import pytest

from simulators.spool_ledger import CommittedReading, attach_spool_ledger, read_spool_ledger
from tests.running_city import RunningCity, city, is_alive, stop

BEFORE_S = 6.0
AFTER_S = 6.0
DRAINED_WITHIN_S = 90.0


def spools(running: RunningCity) -> list[Path]:
    return sorted((running.root / "data/spool").glob("*.sqlite"))


def spooled_up_to(spool: Path, key: tuple[int, int]) -> int:
    """How many committed batches, up to one (epoch, batch), are not yet acknowledged."""
    with sqlite3.connect(f"{spool.as_uri()}?mode=ro", uri=True, timeout=10) as connection:
        row = connection.execute("SELECT count(*) FROM batch WHERE (epoch, batch) <= (?, ?)", key).fetchone()
    connection.close()
    return int(row[0])


def wait_until_drained(running: RunningCity) -> dict[Path, list[CommittedReading]]:
    """Waits until all that is committed now is acknowledged; gives it."""
    committed = {spool: read_spool_ledger(spool) for spool in spools(running)}
    last = {spool: (rows[-1].epoch, rows[-1].batch) for spool, rows in committed.items()}
    running.wait_until(
        "all that was committed is acknowledged",
        lambda: all(spooled_up_to(spool, key) == 0 for spool, key in last.items()),
        DRAINED_WITHIN_S,
    )
    return committed


Key = tuple[str, str, int, float | None, int]
"""node, quantity, phenomenon time, value, reason."""


def stored(running: RunningCity, since_ns: int) -> Counter[Key]:
    """What the store holds of a time, with the registry's names."""
    query = """
        SELECT node_id, quantity, phenomenon_ns, value, reason, count(*)
        FROM hot.observation JOIN names USING (channel_id) WHERE phenomenon_ns >= ? GROUP BY ALL"""
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{running.root}/data/store/hot.duckdb' AS hot (READ_ONLY)")
        connection.execute(
            f"""CREATE TABLE names AS SELECT channel.channel_id, channel.node_id, channel.quantity FROM
                (SELECT unnest(channels) AS channel FROM read_json('{running.root}/data/store/fleet.json'))"""
        )
        rows = connection.execute(query, [since_ns]).fetchall()
    return Counter({tuple(row[:5]): row[5] for row in rows})


def key_of(row: CommittedReading) -> Key:
    return row.node_id, row.quantity, row.phenomenon_ns, row.value, row.reason


@pytest.mark.needs_mosquitto
@pytest.mark.parametrize("victim", ["stream-processor", "broker", "gw-harbour"])
def test_committed_to_the_spool_is_stored_once_when_a_program_is_killed(tmp_path: Path, victim: str) -> None:
    with city(tmp_path / "run", "--broker", "mosquitto") as running:
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text)
        for spool in spools(running):
            attach_spool_ledger(spool)
        since_ns = time.time_ns()
        time.sleep(BEFORE_S)
        pid = running.pids()[victim]
        os.kill(pid, signal.SIGKILL)
        running.wait_until(f"{victim} is gone", lambda: not is_alive(pid))
        running.wait_until(f"{victim} runs again", lambda: running.pids()[victim] != pid)
        time.sleep(AFTER_S)
        committed = wait_until_drained(running)
        stop(running)
        everything = {spool: read_spool_ledger(spool) for spool in spools(running)}
        in_store = stored(running, since_ns)

    drained = Counter(key_of(row) for rows in committed.values() for row in rows if row.phenomenon_ns >= since_ns)
    in_ledgers = Counter(key_of(row) for rows in everything.values() for row in rows)
    assert len(drained) > 200 * (BEFORE_S + AFTER_S) / 2, "too few readings to prove anything"
    missing = [key for key in drained if key not in in_store]
    assert missing == [], f"{len(missing)} committed readings are not stored, the first: {missing[:3]}"
    twice = [key for key, count in in_store.items() if count != 1]
    assert twice == [], f"{len(twice)} readings are stored more than once, the first: {twice[:3]}"
    # What was measured before the ledger was attached may have been committed before, too.
    margin_ns = 2_000_000_000
    unknown = [key for key in in_store if key not in in_ledgers and key[2] >= since_ns + margin_ns]
    assert unknown == [], f"{len(unknown)} stored readings were never committed, the first: {unknown[:3]}"
