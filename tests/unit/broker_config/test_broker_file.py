"""A broker's files as a whole: golden folders, and what `render --check` says of files on disk."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from broker_config import emqx, mosquitto
from broker_config.broker_file import Credentials, Kind, build_files, find_differences
from broker_config.configuration import BrokerSettings
from contracts.configuration import check_settings, parse_settings
from contracts.errors import ConfigurationError

GOLDEN = Path(__file__).parents[2] / "golden/broker_config"
TLS = {"client_ca_file": "ca.pem", "certificate_file": "broker.pem", "key_file": "broker.key"}
NOBODY = Credentials({}, {})
PASSWORDS = {"citysense": "host-secret\n", "gw-1": "gateway-secret\n"}
DESCRIPTION = """
[persistence]
directory = "kept"
[[host]]
password_file = "citysense"
[[gateway]]
gateway_id = "gw-1"
district_id = "harbour"
password_file = "gw-1"
"""
TLS_TABLE = '[tls_listener]\nclient_ca_file = "ca.pem"\ncertificate_file = "broker.pem"\nkey_file = "broker.key"\n'


def golden_settings(*, are_enrolled: bool) -> BrokerSettings:
    settings = parse_settings(BrokerSettings, (GOLDEN / "description.toml").read_text(), "description.toml")
    return settings.model_copy(update={"are_gateways_enrolled": are_enrolled})


def settings_of(**changes: object) -> BrokerSettings:
    document: dict[str, object] = {"persistence": {"directory": "kept"}, "host": [{}], "tls_listener": TLS}
    return check_settings(BrokerSettings, document | changes, "broker.toml")


@pytest.mark.parametrize("kind", [Kind.EMQX, Kind.MOSQUITTO])
@pytest.mark.parametrize("gateways", ["listed", "enrolled"])
def test_rendered_files_are_the_golden_ones(kind: Kind, gateways: str) -> None:
    settings = golden_settings(are_enrolled=gateways == "enrolled")
    files = build_files(kind, settings, "/etc/broker", "/var/lib/broker", NOBODY)
    folder = GOLDEN / f"{kind}_{gateways}"
    found = {name: (folder / name).read_text() for name in files}
    assert "\n".join(find_differences(files, found)) == "", "if the change is meant, render the golden files anew"


def run_cli(folder: Path, kind: Kind, *options: str) -> subprocess.CompletedProcess[str]:
    arguments = ["render", "--kind", kind, "--config", folder / "broker.toml", "--out", folder / "out", *options]
    command = [sys.executable, "-m", "broker_config.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, password in PASSWORDS.items():
        (tmp_path / name).write_text(password)
    return tmp_path


@pytest.mark.parametrize("kind", list(Kind))
def test_check_says_whether_the_files_are_what_the_description_gives(folder: Path, kind: Kind) -> None:
    tls = TLS_TABLE if kind is Kind.EMQX else ""
    (folder / "broker.toml").write_text(DESCRIPTION + tls)
    absent = run_cli(folder, kind, "--check")
    assert (absent.returncode, absent.stderr) == (1, "")
    assert "absent" in absent.stdout
    assert not (folder / "out").exists(), "--check writes nothing"
    assert run_cli(folder, kind).returncode == 0
    same = run_cli(folder, kind, "--check")
    assert (same.returncode, same.stdout, same.stderr) == (0, f"{folder}/out: ok\n", "")
    for path in (folder / "out").iterdir():
        written = path.read_text()
        path.write_text(f"{written}# changed by hand\n")
        changed = run_cli(folder, kind, "--check")
        assert changed.returncode == 1
        assert path.name in changed.stdout
        path.write_text(written)


def test_check_shows_what_changed_but_no_secret(folder: Path) -> None:
    (folder / "broker.toml").write_text(DESCRIPTION)
    for kind in (Kind.MOSQUITTO, Kind.RUMQTTD):
        assert run_cli(folder, kind).returncode == 0
    (folder / "broker.toml").write_text(DESCRIPTION + "[limits]\nmax_queued_messages = 77\n")
    (folder / "gw-1").write_text("another-secret\n")
    changed = run_cli(folder, Kind.MOSQUITTO, "--check").stdout
    assert "-max_queued_messages 10000\n+max_queued_messages 77\n" in changed
    assert "mosquitto.passwd: differs\n" in changed
    assert run_cli(folder, Kind.RUMQTTD, "--check").stdout == "rumqttd.toml: differs\n"
    assert "secret" not in changed
    assert "$7$" not in changed


def test_a_kind_that_cannot_do_what_is_described_says_so(folder: Path) -> None:
    (folder / "broker.toml").write_text(DESCRIPTION)
    without = run_cli(folder, Kind.EMQX)
    assert without.returncode == 2
    assert "--kind emqx: $.tls_listener: absent" in without.stderr
    (folder / "broker.toml").write_text(DESCRIPTION + TLS_TABLE)
    loopback = run_cli(folder, Kind.RUMQTTD)
    assert loopback.returncode == 2
    assert "--kind rumqttd: $.tls_listener: rumqttd is for a demonstration" in loopback.stderr


def test_paths_of_the_tls_files_are_relative_to_the_description(folder: Path) -> None:
    (folder / "broker.toml").write_text(DESCRIPTION + TLS_TABLE)
    assert run_cli(folder, Kind.MOSQUITTO).returncode == 0
    written = (folder / "out/mosquitto.conf").read_text().splitlines()
    assert {f"cafile {folder}/ca.pem", f"certfile {folder}/broker.pem", f"keyfile {folder}/broker.key"} <= set(written)


def test_who_has_no_password_needs_a_tls_listener() -> None:
    with pytest.raises(
        ConfigurationError, match="without \\[tls_listener\\] everybody needs a password_file: citysense"
    ):
        settings_of(tls_listener=None)
    with pytest.raises(ConfigurationError, match="are_gateways_enrolled needs"):
        settings_of(tls_listener=None, host=[{"password_file": "x"}], are_gateways_enrolled=True)


@pytest.mark.parametrize("port", [1883, 1884])
def test_the_tls_listener_has_a_port_of_its_own(port: int) -> None:
    with pytest.raises(ConfigurationError, match=f"tls_listener.port {port} is taken"):
        settings_of(tls_listener=TLS | {"port": port})


@pytest.mark.parametrize("host", ["broker.example.org", "", "1.2.3"])
def test_the_tls_listener_has_an_address_not_a_name(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\$\.tls_listener\.host"):
        settings_of(tls_listener=TLS | {"host": host})


def test_a_path_cannot_smuggle_a_line_into_the_configuration() -> None:
    with pytest.raises(ConfigurationError, match=r"\$\.tls_listener\.key_file"):
        settings_of(tls_listener=TLS | {"key_file": "key\nallow_anonymous true"})


def test_revoked_certificates_are_looked_for() -> None:
    settings = settings_of(tls_listener=TLS | {"revoked_file": "/tls/revoked.pem"})
    assert "crlfile /tls/revoked.pem\n" in mosquitto.render_configuration(settings, "/etc/x", "/var/y")
    assert "enable_crl_check = true\n" in emqx.render_configuration(settings, "/etc/x", "/var/y")


def test_emqx_listens_on_an_ipv6_address_in_brackets() -> None:
    text = emqx.render_configuration(settings_of(tls_listener=TLS | {"host": "::"}), "/etc/x", "/var/y")
    assert 'bind = "[::]:8883"\n' in text


RULE = re.compile(
    r'\{(allow|deny), (all|\{username, (?:"[^"]+"|\{re, "[^"]+"\})\}), (subscribe|publish|all), \[(.+)\]\}\.'
)


@pytest.mark.parametrize("are_enrolled", [False, True])
def test_every_emqx_rule_follows_the_grammar_and_the_last_one_denies(are_enrolled: bool) -> None:
    comment, *rules, last = emqx.render_access_list(golden_settings(are_enrolled=are_enrolled)).splitlines()
    assert comment.startswith("%% ")
    assert last == "{deny, all}."
    parsed = [RULE.fullmatch(rule) for rule in rules]
    assert all(parsed), rules
    assert parsed[0].group(1, 2, 3, 4) == ("deny", '{username, {re, "[^A-Za-z0-9._-]"}}', "all", '"#"')
    assert all(match[1] == "allow" for match in parsed[1:])


def test_without_differences_there_is_nothing_to_say() -> None:
    assert list(find_differences({"a": "1\n"}, {"a": "1\n"})) == []
    assert list(find_differences({"a": "1\n"}, {"a": None})) == ["a: absent"]


def test_salts_are_found_in_a_password_file_and_give_it_again() -> None:
    line = mosquitto.render_password_line("gw-1", "secret", bytes(range(12)))
    salts = mosquitto.find_salts(f"{line}\nnonsense\n")
    assert salts == {"gw-1": bytes(range(12))}
    credentials = replace(NOBODY, passwords={"gw-1": "secret"}, salts=salts)
    files = build_files(Kind.MOSQUITTO, settings_of(), "/etc/x", "/var/y", credentials)
    assert files["mosquitto.passwd"] == f"{line}\n"
