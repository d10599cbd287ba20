"""The configuration of `device-registry`, as its TOML file gives it (`example.toml` shows all of it)."""

from __future__ import annotations

from contracts.configuration import Settings
from contracts.service import HttpListener, Principals
from contracts.store import StoreSettings


class RegistrySettings(Settings):
    """The whole file."""

    http: HttpListener
    store: StoreSettings
    principal: Principals
