"""The score job's configuration: the documented example, and every fault by its path."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError
from stream_processor.distributed.score_process import ProcessSettings

EXAMPLE = Path(__file__).parents[3] / "stream_processor/distributed/example-score.toml"


def test_the_documented_example_is_right_and_its_paths_are_relative_to_its_folder():
    settings = parse_settings(ProcessSettings, EXAMPLE.read_text(), "score.toml").anchored(Path("/etc/citysense"))
    assert settings.registry.token_file == Path("/etc/citysense/secrets/registry.token")
    assert settings.score.fleet_file == Path("/etc/citysense/fleet.json")


def test_what_the_example_says_of_a_key_that_is_left_out_is_its_default():
    text = EXAMPLE.read_text()
    keys = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# ") and " = " in line]
    keys = [key for key in keys if not key.startswith("worker = ")]  # none by default
    assert len(keys) >= 12
    spoken = text
    for key in keys:
        spoken = spoken.replace(f"# {key}", key)
    assert parse_settings(ProcessSettings, spoken, "a") == parse_settings(ProcessSettings, text, "b")


@pytest.mark.parametrize(
    ("line", "wrong", "fault"),
    [
        ('group = "score"', 'group = "score job"', "$.job.group"),
        ("# session_timeout_s = 10.0 ", "session_timeout_s = 2.0 ", "$.job.session_timeout_s"),
        ("# snapshot_interval_s = 30.0", "snapshot_interval_s = 0.0", "$.score.snapshot_interval_s"),
        ("partitions = 8", "partitions = 0", "$.kafka.partitions"),
        ("# watchdog_s = 60.0", "watchdogs = 60.0", "$.job.watchdogs: unknown key"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(line, wrong, fault):
    text = EXAMPLE.read_text()
    assert line in text
    with pytest.raises(ConfigurationError) as raised:
        parse_settings(ProcessSettings, text.replace(line, wrong), "score.toml")
    assert f"score.toml: {fault}" in str(raised.value)
