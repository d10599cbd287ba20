"""Addresses of servers as a person or a run gives them."""

from __future__ import annotations

import subprocess

import pytest

from deploy.plan import Accepts
from deploy.stack.addresses import (
    SERVERS,
    VARIABLES,
    format_environment,
    parse_endpoint,
    parse_environment,
    read_given,
)


@pytest.mark.parametrize(
    ("server", "address", "host", "port"),
    [
        ("kafka", "kafka-1.city:9092,kafka-2.city:9092", "kafka-1.city", 9092),
        ("kafka", " 10.0.0.7:9092", "10.0.0.7", 9092),
        ("mosquitto", "[::1]:1883", "::1", 1883),
        ("influxdb", "http://127.0.0.1:8086", "127.0.0.1", 8086),
        ("influxdb", "https://influx.city", "influx.city", 443),
        ("postgresql", "db:5432", "db", 5432),
    ],
)
def test_an_address_names_a_host_and_a_port(server, address, host, port):
    assert parse_endpoint(server, address) == Accepts(host, port)


@pytest.mark.parametrize(
    ("server", "address"),
    [
        ("kafka", "9092"),
        ("kafka", "host:"),
        ("kafka", ":9092"),
        ("kafka", "host:65536"),
        ("kafka", "host:0"),
        ("kafka", "host:٩"),
        ("influxdb", "127.0.0.1:8086"),
        ("influxdb", "ftp://127.0.0.1"),
        ("influxdb", "http://:8086"),
    ],
)
def test_what_is_no_address_is_refused_by_the_name_of_its_variable(server, address):
    with pytest.raises(ValueError, match=f"{VARIABLES[server]}.*is wanted"):
        parse_endpoint(server, address)


def test_only_the_wanted_servers_are_read_and_an_empty_variable_is_none():
    environment = {"CITYSENSE_KAFKA": "k:9092", "CITYSENSE_BROKER": "", "CITYSENSE_POSTGRESQL": "nonsense"}
    assert read_given(environment, ["kafka", "mosquitto"]) == {"kafka": "k:9092"}


def test_every_server_has_a_variable_of_its_own():
    assert set(VARIABLES) == set(SERVERS)
    assert len(set(VARIABLES.values())) == len(SERVERS)


def test_a_shell_and_our_parser_read_the_same_from_servers_env(tmp_path):
    variables = {"CITYSENSE_KAFKA": "127.0.0.1:1", "CITYSENSE_INFLUXDB_TOKEN_FILE": "/srv/a $HOME folder/x=y"}
    file = tmp_path / "servers.env"
    file.write_text(format_environment(variables))
    assert parse_environment(file.read_text()) == variables
    command = '. "$0"; printf "%s\\n" "$CITYSENSE_KAFKA" "$CITYSENSE_INFLUXDB_TOKEN_FILE"'
    told = subprocess.run(["sh", "-c", command, str(file)], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == list(variables.values())


def test_a_path_that_a_shell_would_read_otherwise_is_refused():
    with pytest.raises(ValueError, match="has a quote"):
        format_environment({"X": "it's"})
