"""What the renderers write, against the formats' own descriptions."""

from __future__ import annotations

import base64
import tomllib
from importlib import resources

import pytest

from broker_config import mosquitto, rumqttd
from broker_config.configuration import BrokerSettings
from contracts.configuration import check_settings, parse_settings
from contracts.errors import ConfigurationError


def settings_of(**changes: object) -> BrokerSettings:
    document: dict[str, object] = {
        "persistence": {"directory": "broker"},
        "host": [{"password_file": "passwords/citysense"}],
        "gateway": [
            {"gateway_id": "gw-1", "district_id": "harbour", "password_file": "a"},
            {"gateway_id": "gw-2", "district_id": "riverside", "password_file": "b"},
        ],
    }
    return check_settings(BrokerSettings, document | changes, "broker.toml")


def test_the_shipped_example_is_valid() -> None:
    text = resources.files("broker_config").joinpath("example.toml").read_text()
    assert parse_settings(BrokerSettings, text, "example.toml").gateway[0].gateway_id == "gw-harbour"


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings_of(
            listener={"host": "0.0.0.0", "port": 99999},
            host=[{"user_name": "a b", "password_file": "x", "colour": "red"}],
        )
    assert {fault.path for fault in caught.value.faults} == {
        "$.listener.host",
        "$.listener.port",
        "$.host[0].user_name",
        "$.host[0].colour",
    }


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "localhost.example.org"])
def test_a_plaintext_listener_off_loopback_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError):
        settings_of(listener={"host": host})


def test_two_users_of_one_name_are_refused() -> None:
    gateway = {"gateway_id": "citysense", "district_id": "d", "password_file": "a"}
    with pytest.raises(ConfigurationError, match="two users of one name: citysense"):
        settings_of(gateway=[gateway])


@pytest.mark.parametrize(
    ("host", "message"),
    [([], "nobody would hear the gateways"), ({"password_file": "x"}, "write \\[\\[host\\]\\] instead of \\[host\\]")],
)
def test_hosts_are_a_list_of_one_at_least(host: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        settings_of(host=host)


def test_two_hosts_of_one_host_id_are_refused() -> None:
    hosts = [{"user_name": name, "password_file": name} for name in ("first", "second")]
    with pytest.raises(ConfigurationError, match="two hosts of one host_id, who would throw each other out: citysense"):
        settings_of(host=hosts)


def test_a_gateway_is_granted_its_own_topics_and_no_more() -> None:
    blocks = mosquitto.render_access_list(settings_of()).split("\n\n")
    assert blocks[1].splitlines() == [
        "user gw-1",
        "topic read spBv1.0/STATE/+",
        "topic write spBv1.0/harbour/NBIRTH/gw-1",
        "topic write spBv1.0/harbour/NDEATH/gw-1",
        "topic write spBv1.0/harbour/NDATA/gw-1",
        "topic read spBv1.0/harbour/NCMD/gw-1",
        "topic write spBv1.0/harbour/DBIRTH/gw-1/+",
        "topic write spBv1.0/harbour/DDEATH/gw-1/+",
        "topic write spBv1.0/harbour/DDATA/gw-1/+",
        "topic read spBv1.0/harbour/DCMD/gw-1/+",
    ]


def test_the_host_writes_commands_and_its_own_state_only() -> None:
    block = mosquitto.render_access_list(settings_of()).split("\n\n")[0]
    assert block.splitlines() == [
        "user citysense",
        "topic read spBv1.0/#",
        "topic write spBv1.0/+/NCMD/+",
        "topic write spBv1.0/+/DCMD/+/+",
        "topic write spBv1.0/STATE/citysense",
    ]


def test_nobody_connects_to_mosquitto_without_a_name() -> None:
    lines = mosquitto.render_configuration(settings_of(), "/etc/x", "/var/y").splitlines()
    assert "allow_anonymous false" in lines
    assert "listener 1883 127.0.0.1" in lines
    assert "acl_file /etc/x/mosquitto.acl" in lines
    assert "persistence_location /var/y/" in lines
    assert not any(line.startswith("user ") for line in lines)


def test_mosquitto_drops_to_the_user_that_is_named() -> None:
    lines = mosquitto.render_configuration(settings_of(run_as="citysense"), "/etc/x", "/var/y").splitlines()
    assert "user citysense" in lines


def test_a_password_line_is_what_mosquitto_passwd_writes() -> None:
    # `mosquitto_passwd -b FILE gw-1 'correct horse'` of mosquitto 2.0.11 wrote this line; the salt is taken out of it.
    line = (
        "gw-1:$7$101$HzQ9XDl5fCldo2GD$"
        "1V4BrD2vC9LQ+lBQz362TpJwyhRhz6zotYeG94mI8+hpgi3zOeQDR32Bvmq0rx4cD3UxWwynLDEHmKpOAJDrpQ=="
    )
    salt = base64.b64decode("HzQ9XDl5fCldo2GD")
    assert mosquitto.render_password_line("gw-1", "correct horse", salt) == line


def test_an_empty_password_is_refused() -> None:
    with pytest.raises(ValueError, match="gw-1: an empty password"):
        mosquitto.render_password_line("gw-1", "", bytes(12))


def test_rumqttd_listens_on_loopback_and_knows_every_user() -> None:
    passwords = {"citysense": 'a"b\\c', "gw-1": "p1", "gw-2": "p2"}
    document = tomllib.loads(rumqttd.render_configuration(settings_of(), passwords))
    assert document["v5"]["1"]["listen"] == "127.0.0.1:1883"
    assert document["v4"]["1"]["listen"] == "127.0.0.1:1884"
    assert document["v4"]["1"]["connections"]["auth"] == passwords
    assert document["v5"]["1"]["connections"]["auth"] == passwords


def test_rumqttd_needs_two_ports() -> None:
    with pytest.raises(ConfigurationError, match="both 1883"):
        settings_of(listener={"port": 1883, "port_v311": 1883})
