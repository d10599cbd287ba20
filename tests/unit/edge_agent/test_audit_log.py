"""The audit log: one whole line per record, rotated, and an error when it cannot be written."""

import asyncio
import json
from pathlib import Path

import pytest

from edge_agent.outputs.audit_log import KEPT_FILES, AuditLog


def record(log, number=0, why="because"):
    asyncio.run(log.record("write", "host", "pump/valve", number, why, "done"))


def test_a_line_says_who_did_what_when_and_why(tmp_path):
    record(AuditLog(tmp_path / "folder" / "audit.jsonl"), 3, "DCMD on 北\n桥")
    (line,) = (tmp_path / "folder" / "audit.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "what": "write",
        "who": "host",
        "target": "pump/valve",
        "value": 3,
        "why": "DCMD on 北\n桥",
        "outcome": "done",
    }
    assert (tmp_path / "folder" / "audit.jsonl").stat().st_mode & 0o077 == 0


def test_a_full_file_makes_room_and_the_newest_lines_are_kept_whole(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=500)
    for number in range(50):
        record(log, number)
    files = [tmp_path / "audit.jsonl", *(tmp_path / f"audit.jsonl.{n}" for n in range(1, KEPT_FILES + 1))]
    assert sorted(files) == sorted(tmp_path.iterdir())
    assert all(path.stat().st_size <= 500 for path in files)
    numbers = [json.loads(line)["value"] for path in reversed(files) for line in path.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 50))


def test_records_of_many_tasks_at_once_are_whole_lines(tmp_path):
    async def all_at_once():
        log = AuditLog(tmp_path / "audit.jsonl")
        await asyncio.gather(*(log.record("output", "local", "siren", n, "x" * 200, "done") for n in range(40)))

    asyncio.run(all_at_once())
    lines = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["value"] for line in lines) == list(range(40))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        record(AuditLog(tmp_path / "file" / "audit.jsonl"))


def test_a_full_disk_is_an_error():
    with pytest.raises(OSError, match="No space left"):
        record(AuditLog(Path("/dev/full")))
