"""The ledger test, short: `make ledger` runs it at its full size."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ledger_run import Size, all_faults, run_ledger

SECONDS = 75.0


@pytest.mark.needs_mosquitto
@pytest.mark.needs_kafka
@pytest.mark.needs_influxdb
@pytest.mark.timeout(600)
def test_committed_is_stored_once_while_everything_is_killed_in_turn(tmp_path: Path) -> None:
    said: list[str] = []
    is_equal = run_ledger(tmp_path / "engine", Size(20, 1_000, SECONDS), all_faults(SECONDS), said.append)
    assert is_equal, "\n".join(said)
