"""Mosquitto 2: `mosquitto.conf`, its access list and its password file.

Password line, format 7 of Mosquitto 2 (source: mosquitto `src/password_mosq.c`, `mosquitto_passwd`):
`<user>:$7$<iterations>$<base64 salt>$<base64 PBKDF2-HMAC-SHA512(password, salt, iterations), 64 bytes>`.

Access list, one block a user (mosquitto.conf(5), acl_file): a gateway writes its own births, deaths and data and reads
its own commands and the hosts' STATE; a host reads its districts, or all, and writes commands to them and its own
STATE. What no line
grants is refused; a refused MQTT 5 publish is answered 0x87, which means *not sent*. A block knows the gateway's
district; `pattern` lines, with `%u` for the user name, know every enrolled gateway at once and therefore no district.

The TLS listener takes user name and client id from the certificate's CN. A second client with the same certificate
therefore takes over the first one's session (MQTT 5, 3.1.4): two gateways can never speak under one name unnoticed.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from broker_config.configuration import BrokerSettings, GatewayUser, HostUser, TlsListener
from broker_config.host_rights import commanded_by, heard_by
from contracts.sparkplug.topic import NAMESPACE, STATE, MessageType, StateTopic

PASSWORD_ITERATIONS: Final = 101
"""Mosquitto's own count. Enough here: passwords are random, 32 bytes, so guessing is hopeless anyway."""
SALT_BYTES: Final = 12
CONFIGURATION_NAME: Final = "mosquitto.conf"
ACCESS_LIST_NAME: Final = "mosquitto.acl"
PASSWORD_FILE_NAME: Final = "mosquitto.passwd"  # noqa: S105 - a file's name
_PASSWORD_LINE: Final = re.compile(r"([^:]+):\$7\$\d+\$([A-Za-z0-9+/=]+)\$[A-Za-z0-9+/=]+")


def render_configuration(settings: BrokerSettings, directory: str, persistence_directory: str) -> str:
    """`mosquitto.conf`.

    Args:
        settings: the description; the paths of its TLS files are absolute.
        directory: absolute path of the directory that holds the access list and the password file.
        persistence_directory: absolute path of `settings.persistence.directory`.
    """
    listener, limits = settings.listener, settings.limits
    lines = [
        "# Rendered by `broker-config render`; change the description, not this file.",
        *([f"user {settings.run_as}"] if settings.run_as else []),
        "per_listener_settings false",
        f"listener {listener.port} {listener.host}",
        f"max_connections {limits.max_connections}",
        *(_tls_lines(settings.tls_listener, limits.max_connections) if settings.tls_listener else []),
        "allow_anonymous false",
        f"password_file {directory}/{PASSWORD_FILE_NAME}",
        f"acl_file {directory}/{ACCESS_LIST_NAME}",
        "persistence true",
        f"persistence_location {persistence_directory}/",
        f"autosave_interval {settings.persistence.autosave_interval_s}",
        f"message_size_limit {limits.max_payload_bytes}",
        f"max_inflight_messages {limits.max_inflight_messages}",
        f"max_queued_messages {limits.max_queued_messages}",
        "max_queued_bytes 0",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
        "log_type error",
        "log_type warning",
        "log_type notice",
        "log_type information",
    ]
    return "\n".join(lines) + "\n"


def render_access_list(settings: BrokerSettings) -> str:
    """The file that `acl_file` names."""
    hosts = [_host_block(host) for host in settings.host]
    if settings.are_gateways_enrolled:
        return "\n".join([*hosts, _pattern_block()])
    return "\n".join([*hosts, *(_gateway_block(gateway) for gateway in settings.gateway)])


def find_salts(password_file: str) -> Mapping[str, bytes]:
    """The salt of every line of a password file, by user name; so that the same file can be rendered again."""
    lines = (_PASSWORD_LINE.fullmatch(line) for line in password_file.splitlines())
    return {line[1]: base64.b64decode(line[2]) for line in lines if line is not None}


def render_password_line(user_name: str, password: str, salt: bytes) -> str:
    """One line of the password file, without its end.

    Args:
        user_name: who connects.
        password: in clear; must not be empty.
        salt: 12 random bytes, anew for each line.
    """
    if not password:
        raise ValueError(f"{user_name}: an empty password")
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, PASSWORD_ITERATIONS)
    encoded_salt, encoded_digest = (base64.b64encode(part).decode() for part in (salt, digest))
    return f"{user_name}:$7${PASSWORD_ITERATIONS}${encoded_salt}${encoded_digest}"


def _host_block(host: HostUser) -> str:
    return _block(
        host.user_name,
        [
            *(f"read {each}" for each in heard_by(host)),
            *(f"write {each}" for each in commanded_by(host)),
            f"write {StateTopic(host.host_id)}",
        ],
    )


def _gateway_block(gateway: GatewayUser) -> str:
    return _block(gateway.gateway_id, list(_gateway_rights(gateway.district_id, gateway.gateway_id)))


def _pattern_block() -> str:
    return "".join(f"pattern {right}\n" for right in _gateway_rights("+", "%u"))


def _gateway_rights(district: str, gateway: str) -> Iterator[str]:
    yield f"read {NAMESPACE}/{STATE}/+"
    for message_type in MessageType:
        right = "read" if message_type.is_command else "write"
        device = "/+" if message_type.is_of_device else ""
        yield f"{right} {NAMESPACE}/{district}/{message_type}/{gateway}{device}"


def _tls_lines(listener: TlsListener, max_connections: int) -> list[str]:
    return [
        f"listener {listener.port} {listener.host}",
        f"max_connections {max_connections}",
        f"cafile {listener.client_ca_file}",
        f"certfile {listener.certificate_file}",
        f"keyfile {listener.key_file}",
        *([f"crlfile {listener.revoked_file}"] if listener.revoked_file else []),
        "tls_version tlsv1.2",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
    ]


def _block(user_name: str, rights: list[str]) -> str:
    return "".join([f"user {user_name}\n", *(f"topic {right}\n" for right in rights)])
