"""Configuration of the stream processor (TOML). One documented example: example.toml."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.identifiers import Identifier
from contracts.service import HttpListener, Principals


class MqttSettings(Settings):
    """The broker, and who we are to it."""

    host: str = "127.0.0.1"
    port: int = Field(default=1883, ge=1, le=65_535)
    protocol: Literal["5", "3.1.1"] = "5"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    """TLS: certificates (PEM) of whom the broker's is trusted from. None: no TLS."""
    certificate_file: Path | None = None
    """TLS: our own certificate (PEM), if the broker wants one."""
    key_file: Path | None = None
    """TLS: the key to it."""
    host_id: Identifier = "citysense"
    """Sparkplug host id: agents name it as their primary host. Each bridge has its own, see `mqtt_to_channel`."""
    districts: tuple[Identifier, ...] = ()
    """Districts (Sparkplug groups) that we hear. None: all."""
    keepalive_s: int = Field(default=10, ge=2, le=3_600)
    reorder_timeout_s: float = Field(default=2.0, ge=0.0, le=60.0)
    """How long a message that is missing by `seq` is waited for before its edge node is asked for a rebirth."""

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if self.certificate_file is not None and self.ca_file is None:
            raise ValueError("certificate_file is of no use without ca_file")
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file belong together")
        return self

    def anchored(self, folder: Path) -> MqttSettings:
        """With its relative paths made relative to `folder`."""
        names = ("password_file", "ca_file", "certificate_file", "key_file")
        paths = {name: folder / path for name in names if (path := getattr(self, name)) is not None}
        return self.model_copy(update=paths)

    def hears(self, district_id: str) -> bool:
        """Whether this district is one of ours."""
        return not self.districts or district_id in self.districts


class StoreSettings(Settings):
    """Where data are kept."""

    directory: Path
    """Holds `hot.duckdb`, `parquet/` and the fleet snapshot."""
    commit_interval_s: float = Field(default=0.05, ge=0.0, le=5.0)
    """How long readings are gathered before one durable commit."""
    commit_rows: int = Field(default=50_000, ge=1, le=1_000_000)
    queue_rows: int = Field(default=500_000, ge=1_000, le=50_000_000)
    """Readings that may wait in memory. Beyond it a batch is dropped unacknowledged: its agent sends it again."""
    snapshot_interval_s: float = Field(default=30.0, ge=1.0, le=3_600.0)
    """How often detector state is saved; at a restart what came since is replayed from the store."""
    parquet_interval_s: float = Field(default=3_600.0, ge=1.0, le=86_400.0)
    hot_retention_h: float = Field(default=168.0, ge=1.0, le=8_760.0)
    """Rows older than this leave the hot store once they are in Parquet. Parquet keeps all."""


class UpstreamSettings(Settings):
    """A service of the platform that we call."""

    url: str = Field(pattern=r"^https?://[^\s/]+(:\d+)?$")
    token_file: Path
    """Holds the bearer token."""

    def anchored(self, folder: Path) -> UpstreamSettings:
        """With its relative paths made relative to `folder`."""
        return self.model_copy(update={"token_file": folder / self.token_file})


class StreamProcessorSettings(Settings):
    """The whole file."""

    http: HttpListener
    mqtt: MqttSettings
    store: StoreSettings
    registry: UpstreamSettings
    alarm_service: UpstreamSettings
    principal: Principals
    """Who may call the read API."""


def with_absolute_paths(settings: StreamProcessorSettings, folder: Path) -> StreamProcessorSettings:
    """Relative paths of a configuration are relative to its file's folder."""
    return settings.model_copy(
        update={
            "mqtt": settings.mqtt.anchored(folder),
            "store": settings.store.model_copy(update={"directory": folder / settings.store.directory}),
            "registry": settings.registry.anchored(folder),
            "alarm_service": settings.alarm_service.anchored(folder),
        }
    )
