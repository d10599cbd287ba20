"""rumqttd as the wheel `iotcore` packages it: the broker of a machine that has no other.

One TOML file (source: bytebeamio/rumqtt `rumqttd/rumqttd.toml`; every key was tried with iotcore 0.4.0). It knows user
names and passwords (in clear, so the file is 0600) and no access list: any known client may publish any topic.
Hence it serves a demonstration on loopback, never a city (ADR 0002). It keeps nothing on disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from broker_config.configuration import BrokerSettings, Limits

CONFIGURATION_NAME: Final = "rumqttd.toml"
CONNECTION_TIMEOUT_MS: Final = 5000
"""From the TCP connection to CONNECT."""
SEGMENT_BYTES: Final = 16 * 1024 * 1024
SEGMENT_COUNT: Final = 4
"""In-memory log of each topic filter: beyond SEGMENT_COUNT segments the oldest is dropped."""


def render_configuration(settings: BrokerSettings, passwords: Mapping[str, str]) -> str:
    """`rumqttd.toml`.

    Args:
        settings: the description.
        passwords: in clear, by user name; every user must be in it.
    """
    listener, limits = settings.listener, settings.limits
    router = [
        "# Rendered by `broker-config render`; change the description, not this file.",
        "id = 0",
        "[router]",
        "id = 0",
        f"max_connections = {limits.max_connections}",
        f"max_outgoing_packet_count = {limits.max_queued_messages}",
        f"max_segment_size = {SEGMENT_BYTES}",
        f"max_segment_count = {SEGMENT_COUNT}",
    ]
    servers = [
        *_server("v4", listener.host, listener.port_v311, limits, passwords),
        *_server("v5", listener.host, listener.port, limits, passwords),
    ]
    return "\n".join([*router, *servers]) + "\n"


def _server(version: str, host: str, port: int, limits: Limits, passwords: Mapping[str, str]) -> list[str]:
    return [
        f"[{version}.1]",
        f'name = "{version}"',
        f'listen = "{host}:{port}"',
        "next_connection_delay_ms = 1",
        f"[{version}.1.connections]",
        f"connection_timeout_ms = {CONNECTION_TIMEOUT_MS}",
        f"max_payload_size = {limits.max_payload_bytes}",
        f"max_inflight_count = {limits.max_inflight_messages}",
        "dynamic_filters = true",
        f"[{version}.1.connections.auth]",
        *(f"{_quote(user_name)} = {_quote(password)}" for user_name, password in passwords.items()),
    ]


def _quote(text: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(text, ensure_ascii=False)
