"""Configuration of the console: TOML → frozen models. `example.toml` beside this file documents every key.

A bearer token and a session cookie never cross a network in the clear: a service off the loopback interface needs
an https URL, and the console itself needs a certificate to listen off it (design, section 7).
"""

from __future__ import annotations

import datetime as dt
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from contracts.configuration import Settings
from contracts.service import is_loopback

UTC_NAME: Final = "UTC"


class HttpSettings(Settings):
    """Where the console listens."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65_535)
    """0 lets the system choose; the log names the port that it gave."""
    tls_certificate_file: str | None = None
    """PEM; needed, with the key, to listen off the loopback interface."""
    tls_key_file: str | None = None

    @property
    def is_tls(self) -> bool:
        """Whether browsers reach the console over https."""
        return self.tls_certificate_file is not None

    @model_validator(mode="after")
    def _check_privacy(self) -> HttpSettings:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file go together: give both or none")
        if not self.is_tls and not is_loopback(self.host):
            raise ValueError(f"host {self.host!r} is not loopback: give tls_certificate_file and tls_key_file")
        return self


class StoreSettings(Settings):
    """Where sign-ins are kept."""

    path: str = Field(min_length=1)
    """SQLite file; made if absent. Holds hashes of one-time passwords and of session tokens."""


class CitySettings(Settings):
    """What the page calls the city, and whose clock it shows."""

    name: str = Field(min_length=1, max_length=80)
    time_zone: str = UTC_NAME
    """IANA name; all times on the page are in it, whatever the browser's zone is."""

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        if name != UTC_NAME:
            try:
                ZoneInfo(name)
            except (ZoneInfoNotFoundError, ValueError) as error:
                raise ValueError("not an IANA time zone such as Asia/Shanghai") from error
        return name

    @property
    def zone(self) -> dt.tzinfo:
        """The city's time zone."""
        return dt.UTC if self.time_zone == UTC_NAME else ZoneInfo(self.time_zone)


class UpstreamSettings(Settings):
    """A service that the console asks."""

    url: str
    """Root of the service: `http://127.0.0.1:8101`."""
    token_file: str = Field(min_length=1)
    """File (mode 0600) that holds the bearer token."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("not an http or https URL")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("http is for loopback only (the token would travel in the clear): use https")
        return url.rstrip("/")


class ConsoleSettings(Settings):
    """The whole file."""

    http: HttpSettings
    store: StoreSettings
    city: CitySettings
    registry: UpstreamSettings
    alarm_service: UpstreamSettings
    stream_processor: UpstreamSettings
