"""The description of a broker: where it listens, what it keeps, and who may connect (`example.toml` documents it)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from contracts.configuration import Settings
from contracts.identifiers import Identifier

Port = Annotated[int, Field(ge=1, le=65535)]
OneLine = Annotated[str, StringConstraints(pattern=r'^[^\x00-\x1f\x7f"\\]+$')]
"""Text that stands in a line of a broker's configuration: no control character, quote or backslash."""
UserName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _check_address(text: str) -> str:
    """An IP address, in its shortest form. Raises ValueError for a name: it may mean another interface tomorrow."""
    return str(ip_address(text))


class Listener(Settings):
    """Where clients connect. Plaintext, hence loopback only (design, section 7)."""

    host: str = Field(default="127.0.0.1", pattern=r"^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$")
    port: Port = 1883
    """MQTT 5. Mosquitto speaks 3.1.1 here too."""
    port_v311: Port = 1884
    """MQTT 3.1.1 of rumqttd, which has one listener for each version. Mosquitto does not use it."""

    @model_validator(mode="after")
    def _check_ports_differ(self) -> Self:
        if self.port == self.port_v311:
            raise ValueError(f"port and port_v311 are both {self.port}: rumqttd needs two")
        return self


class TlsListener(Settings):
    """Where clients with a certificate connect: MQTT over TLS 1.2 or 1.3, on any address.

    The name in the certificate (CN) is user name and client id. It alone decides the rights, so whoever signs for
    `client_ca_file` must sign no host's name for a gateway. A password is not asked for.
    """

    host: Annotated[str, AfterValidator(_check_address)] = "0.0.0.0"  # noqa: S104  # gateways are elsewhere
    port: Port = 8883
    client_ca_file: OneLine
    """PEM: who signs the clients' certificates."""
    certificate_file: OneLine
    """PEM: the broker's own certificate, and what leads from it to a root."""
    key_file: OneLine
    """PEM: its private key; readable by the broker only."""
    revoked_file: OneLine | None = None
    """PEM: certificates that count no more (CRL of the clients' CA). The broker reads it at its start. EMQX takes it
    for a yes only: it fetches CRLs from where the certificates say."""

    def anchored(self, folder: Path) -> TlsListener:
        """With paths that are absolute, from those that are relative to a folder."""
        names = ("client_ca_file", "certificate_file", "key_file", "revoked_file")
        paths = {name: getattr(self, name) for name in names}
        return self.model_copy(update={name: str(folder / path) for name, path in paths.items() if path is not None})


class Limits(Settings):
    """Bounds on what one client can make the broker hold. The durable queue is the agent's spool, not the broker."""

    max_connections: int = Field(default=2000, ge=1, le=100_000)
    max_payload_bytes: int = Field(default=1_048_576, ge=1024, le=268_435_455)
    max_inflight_messages: int = Field(default=100, ge=1, le=65535)
    """QoS 1 messages on the way to one client at a time."""
    max_queued_messages: int = Field(default=10_000, ge=1, le=10_000_000)
    """For one client that is slow or away; beyond it the broker drops, and end-to-end acknowledgement repairs."""


class Persistence(Settings):
    """Retained messages and sessions on disk (Mosquitto only: rumqttd keeps nothing)."""

    directory: OneLine
    autosave_interval_s: int = Field(default=60, ge=1)


class KafkaSettings(Settings):
    """What all topics have in common; the topics themselves stand in `contracts.kafka_topic`."""

    partitions: int = Field(default=8, ge=1, le=1_000)
    """The most workers that can share the city. More than there are gateways is of no use. Cannot be changed later."""
    replication_factor: int = Field(default=1, ge=1, le=9)
    """3 on three or more Kafka servers: then one may be lost."""


class HostUser(Settings):
    """A Sparkplug host application: a bridge of the stream processor. Each has a name and a STATE of its own."""

    user_name: UserName = "citysense"
    host_id: Identifier = "citysense"
    districts: tuple[Identifier, ...] = ()
    """The Sparkplug groups that it hears and commands, as `[mqtt] districts` of the bridge; none: all."""
    password_file: str | None = None
    """Absent: it connects with a certificate only."""


class GatewayUser(Settings):
    """A gateway: its id is its user name, its district is its Sparkplug group."""

    gateway_id: Identifier
    district_id: Identifier
    password_file: str | None = None
    """Absent: it connects with a certificate only."""


def _check_is_list(hosts: object) -> object:
    if isinstance(hosts, dict):
        raise ValueError("write [[host]] instead of [host]: there may be several")  # noqa: TRY004  # pydantic's
    return hosts


class BrokerSettings(Settings):
    """A whole description."""

    listener: Listener = Listener()
    tls_listener: TlsListener | None = None
    limits: Limits = Limits()
    persistence: Persistence
    kafka: KafkaSettings = KafkaSettings()
    run_as: UserName | None = None
    """System user that Mosquitto drops to when root starts it; absent: Mosquitto's own choice (`mosquitto`)."""
    are_gateways_enrolled: bool = False
    """One set of rights for all gateways, by their own name, in place of a block for each: whoever has a certificate
    of the clients' CA is a gateway, without a new rendering. The broker then does not know the districts; the
    processor does, and quarantines a gateway that speaks for another district."""
    host: Annotated[tuple[HostUser, ...], BeforeValidator(_check_is_list)]
    gateway: tuple[GatewayUser, ...] = ()

    def password_files(self) -> Iterator[tuple[str, str, str]]:
        """Of every user who has one: the place in the document, the user's name, the name of the password file."""
        for path, user_name, password_file in self._users():
            if password_file is not None:
                yield f"{path}.password_file", user_name, password_file

    def _users(self) -> Iterator[tuple[str, str, str | None]]:
        for index, host in enumerate(self.host):
            yield f"$.host[{index}]", host.user_name, host.password_file
        for index, gateway in enumerate(self.gateway):
            yield f"$.gateway[{index}]", gateway.gateway_id, gateway.password_file

    @model_validator(mode="after")
    def _check_everybody_can_connect(self) -> Self:
        without = sorted(name for _, name, password_file in self._users() if password_file is None)
        if without and self.tls_listener is None:
            raise ValueError(f"without [tls_listener] everybody needs a password_file: {', '.join(without)} has none")
        return self

    @model_validator(mode="after")
    def _check_enrolled_have_certificates(self) -> Self:
        if self.are_gateways_enrolled and self.tls_listener is None:
            raise ValueError("are_gateways_enrolled needs [tls_listener]: the certificate is the enrolment")
        return self

    @model_validator(mode="after")
    def _check_tls_has_its_own_port(self) -> Self:
        if self.tls_listener is not None and self.tls_listener.port in {self.listener.port, self.listener.port_v311}:
            raise ValueError(f"tls_listener.port {self.tls_listener.port} is taken by [listener]")
        return self

    @model_validator(mode="after")
    def _check_somebody_hears(self) -> Self:
        if not self.host:
            raise ValueError("no [[host]]: nobody would hear the gateways")
        return self

    @model_validator(mode="after")
    def _check_names_differ(self) -> Self:
        if doubles := _doubles(name for _, name, _ in self._users()):
            raise ValueError(f"two users of one name: {', '.join(doubles)}")
        if doubles := _doubles(host.host_id for host in self.host):
            raise ValueError(f"two hosts of one host_id, who would throw each other out: {', '.join(doubles)}")
        return self


def _doubles(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
