"""The configuration of `alarm-service`, as its TOML file gives it (`example.toml` shows all of it)."""

from __future__ import annotations

from pydantic import Field

from contracts.configuration import Settings
from contracts.service import HttpListener, Principals


class StoreSettings(Settings):
    """`[store]`: where the journal stands."""

    path: str = Field(min_length=1)
    """SQLite file, made if absent. A relative path is relative to the configuration file."""


class AlarmServiceSettings(Settings):
    """The whole file."""

    http: HttpListener
    store: StoreSettings
    principal: Principals
