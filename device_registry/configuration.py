"""The configuration of `device-registry`, as its TOML file gives it (`example.toml` shows all of it)."""

from __future__ import annotations

from pydantic import Field

from contracts.configuration import Settings
from contracts.service import HttpListener, Principals


class StoreSettings(Settings):
    """`[store]`: where the fleet stands."""

    path: str = Field(min_length=1)
    """SQLite file, made if absent. A relative path is relative to the configuration file."""


class RegistrySettings(Settings):
    """The whole file."""

    http: HttpListener
    store: StoreSettings
    principal: Principals
