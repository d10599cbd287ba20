"""The bridge's configuration: the example that is shipped, what belongs together, relative paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.configuration import parse_settings
from contracts.errors import ConfigurationError
from stream_processor.distributed import bridge_process
from stream_processor.distributed.bridge_process import ProcessSettings

EXAMPLE = Path(bridge_process.__file__).parent / "example-bridge.toml"
TLS = 'ca_file = "tls/ca.pem"\ncertificate_file = "tls/own.pem"\nkey_file = "tls/own.key"\n'


def parse(text: str) -> ProcessSettings:
    return parse_settings(ProcessSettings, text, "bridge.toml")


def test_the_example_parses_and_says_the_defaults():
    settings = parse(EXAMPLE.read_text())
    defaults = ProcessSettings(
        directory=settings.directory,
        mqtt={"username": "citysense", "password_file": "secret/mqtt-citysense"},
        kafka={"partitions": 8},
        registry=settings.registry,
    )
    assert settings == defaults


def test_relative_paths_are_relative_to_the_file():
    text = EXAMPLE.read_text().replace("port = 1883", f"{TLS}port = 8883")
    settings = parse(text).anchored(Path("/etc/city"))
    mqtt = settings.mqtt
    paths = [settings.directory, settings.registry.token_file, mqtt.password_file]
    paths += [mqtt.ca_file, mqtt.certificate_file, mqtt.key_file]
    assert [str(path) for path in paths] == [
        "/etc/city/bridge",
        "/etc/city/secret/processor-token",
        "/etc/city/secret/mqtt-citysense",
        "/etc/city/tls/ca.pem",
        "/etc/city/tls/own.pem",
        "/etc/city/tls/own.key",
    ]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ('certificate_file = "a"\nkey_file = "b"\n', "of no use without ca_file"),
        ('ca_file = "c"\ncertificate_file = "a"\n', "belong together"),
        ('ca_file = "c"\nkey_file = "b"\n', "belong together"),
        ('districts = ["Harbour"]\n#', "$.mqtt.districts[0]"),
    ],
)
def test_what_does_not_fit_together_is_named(lines, fault):
    text = EXAMPLE.read_text().replace("districts = []", "")
    with pytest.raises(ConfigurationError) as raised:
        parse(text.replace("[mqtt]\n", f"[mqtt]\n{lines}"))
    assert fault in str(raised.value)


def test_a_bridge_without_districts_hears_all_and_one_with_districts_those():
    everything = parse(EXAMPLE.read_text()).mqtt
    harbour = everything.model_copy(update={"districts": ("harbour",)})
    assert [each.hears("hill") for each in (everything, harbour)] == [True, False]
    assert harbour.hears("harbour")
