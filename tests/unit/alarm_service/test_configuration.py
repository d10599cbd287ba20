"""The configuration file: the example is sound, and every fault is named at once."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from alarm_service.configuration import AlarmServiceSettings, KafkaSettings
from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError


def test_the_shipped_example_is_sound():
    text = files("alarm_service").joinpath("example.toml").read_text(encoding="utf-8")
    settings = parse_settings(AlarmServiceSettings, text, "example.toml")
    assert [principal.role for principal in settings.principal] == ["processor", "operator"]


def test_what_the_example_shows_as_comments_is_sound_too_and_kafka_s_part_is_the_defaults():
    text = files("alarm_service").joinpath("example.toml").read_text(encoding="utf-8")
    text = text.replace('path = "alarms.sqlite"', "")
    shown = re.sub(r"^# (?=\[kafka\]|\w+ = )", "", text, flags=re.MULTILINE)
    settings = parse_settings(AlarmServiceSettings, shown, "example.toml")
    assert settings.kafka == KafkaSettings()
    assert (settings.store.path, settings.store.password_file) == (None, "postgresql.password")


def test_every_fault_is_named_at_once():
    text = """
    colour = "red"
    [http]
    port = 99999
    [store]
    [[principal]]
    name = "a"
    role = "king"
    token_sha256 = "xyz"
    """
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(AlarmServiceSettings, text, "a.toml")
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {
        "$.colour",
        "$.http.port",
        "$.store",
        "$.principal[0].role",
        "$.principal[0].token_sha256",
    }


@pytest.mark.parametrize("key", ["name", "token_sha256"])
def test_a_name_or_token_that_stands_twice_is_a_fault(key):
    one = {"name": "a", "role": "viewer", "token_sha256": "1" * 64}
    other = {"name": "b", "role": "viewer", "token_sha256": "2" * 64} | {key: one[key]}
    tables = "\n".join(
        "[[principal]]\n" + "\n".join(f'{name} = "{value}"' for name, value in row.items()) for row in (one, other)
    )
    with pytest.raises(ConfigurationError, match=f"{key} must be unique"):
        parse_settings(AlarmServiceSettings, f'[http]\nport = 0\n[store]\npath = "x"\n{tables}', "a.toml")


def test_a_service_that_nobody_may_call_is_a_fault():
    with pytest.raises(ConfigurationError, match=r"\$\.principal"):
        parse_settings(AlarmServiceSettings, 'principal = []\n[http]\nport = 0\n[store]\npath = "x"', "a.toml")
