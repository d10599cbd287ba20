"""The file of learnt register limits: kept over a restart, never in the way."""

from __future__ import annotations

import pytest

from edge_agent.modbus.register_limits import RegisterLimits
from edge_agent.modbus.store_limits import LimitFile


def learn(file: LimitFile) -> RegisterLimits:
    learnt = RegisterLimits(max_count={3: 60}, answered_count={3: 60})
    learnt.note_refused(3, 7, 8)
    file.memory.learn("meter", RegisterLimits(), learnt)
    return learnt


def test_what_was_learnt_is_there_after_a_restart_and_written_only_when_it_changed(tmp_path):
    path = tmp_path / "spool.register-limits.json"
    file = LimitFile(path)
    file.save()
    assert not path.exists(), "nothing was learnt"
    learnt = learn(file)
    file.save()
    assert LimitFile(path).memory.limits_of("meter") == learnt
    path.unlink()
    file.save()
    assert not path.exists(), "nothing new was learnt"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 9, "models": {}}', "\xff\xfe"])
def test_a_file_that_is_no_memory_is_named_in_the_log_and_learnt_anew(tmp_path, caplog, text):
    path = tmp_path / "limits.json"
    path.write_bytes(text.encode("latin-1"))
    file = LimitFile(path)
    assert file.memory.limits_of("meter") == RegisterLimits()
    assert str(path) in caplog.text
    learn(file)
    file.save()
    assert LimitFile(path).memory.limits_of("meter") != RegisterLimits()


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path, caplog):
    file = LimitFile(tmp_path / "missing" / "limits.json")
    learn(file)
    file.save()
    assert "register_limits_not_kept" in caplog.text
