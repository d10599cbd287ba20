"""The tables `[gateway]`, `[mqtt]`, `[spool]` and `[audit]` of the configuration: who we are, and where readings go."""

from __future__ import annotations

from typing import Annotated, Literal

from contracts.identifiers import Identifier
from contracts.plain_settings import Limits, plain_settings

Port = Annotated[int, Limits(ge=1, le=65535)]
Text = Annotated[str, Limits(min_length=1)]


@plain_settings
class GatewaySettings:
    """Who this agent is."""

    gateway_id: Identifier
    """Sparkplug edge node id, and the MQTT client id."""
    district_id: Identifier
    """Sparkplug group id."""
    profile_folder: str | None = None
    """A folder with device profiles of one's own, beside the shipped ones."""


@plain_settings
class BrokerSettings:
    """Where a broker listens."""

    host: Text
    port: Port = 8883


@plain_settings
class TlsSettings:
    """TLS to the broker. Its certificate and its name are always checked; the files are read at each connect."""

    ca_file: Text
    """PEM of the authority that signed the broker's certificate."""
    certificate_file: str | None = None
    """PEM of this gateway's own certificate, with the chain up to the authority that the broker trusts."""
    key_file: str | None = None
    """Its private key: PEM, not encrypted, 0600."""
    server_name: Text | None = None
    """The name in the broker's certificate, if it is not the host that is connected to."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together: give both or neither")


@plain_settings
class MqttSettings:
    """The broker."""

    host: Text = "127.0.0.1"
    port: Port = 1883
    standby: Annotated[tuple[BrokerSettings, ...], Limits(max_length=8)] = ()
    """Further brokers, tried in turn when a connection ends or the primary host is not on this one."""
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    """`auto`: MQTT 5, and 3.1.1 with a broker that knows no 5."""
    tls: TlsSettings | None = None
    username: str | None = None
    password_file: str | None = None
    """A file (0600) that holds the password and nothing else."""
    primary_host: Identifier | None = None
    """Publish only while this Sparkplug host is online; without it, always."""
    keepalive_s: Annotated[int, Limits(ge=1, le=3600)] = 5


@plain_settings
class SpoolSettings:
    """What is kept until the far end has stored it."""

    path: Text
    flush_interval_s: Annotated[float, Limits(ge=0.02, le=60.0)] = 1.0
    flush_readings: Annotated[int, Limits(ge=1, le=10_000)] = 200
    """So many readings are committed at once, however young they are."""
    resend_after_s: Annotated[float, Limits(ge=0.1, le=3600.0)] = 10.0
    """Sent and not acknowledged for so long: sent again; each time twice as patient, up to 10 times this."""
    backlog_batches_per_s: Annotated[float, Limits(gt=0.0, le=10_000.0)] = 50.0
    """How fast old batches follow behind the live ones, at most."""
    uplink_bytes_per_s: Annotated[int, Limits(ge=100, le=10_000_000_000)] = 250_000
    """What the line to the broker carries (2 Mbit/s by default, a poor mobile uplink)."""
    backlog_share: Annotated[float, Limits(gt=0.0, le=1.0)] = 0.5
    """Of that, the part that old batches may take."""
    memory_readings_max: Annotated[int, Limits(ge=1_000, le=10_000_000)] = 50_000
    """Readings that may wait in memory while the disk refuses; the oldest beyond are discarded and counted."""
    disk_max_bytes: Annotated[int, Limits(ge=1 << 20, le=1 << 40)] = 3 << 29
    """The spool's share of the disk: 72 h at 300 readings/s and 14 bytes a reading are 1.1 GB, and thinning begins at
    90 % (docs/agent-spool.md)."""


@plain_settings
class AuditSettings:
    """Who switched what, when and why."""

    path: Text = "audit.jsonl"
    max_bytes: Annotated[int, Limits(ge=1 << 12, le=1 << 30)] = 1 << 20
    """A full file becomes `<path>.1`; five of them are kept."""
