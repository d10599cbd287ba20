"""The configuration of `alarm-service`, as its TOML file gives it (`example.toml` shows all of it)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import Field, field_validator

from contracts.access import Principal
from contracts.configuration import Settings


class HttpSettings(Settings):
    """`[http]`: where the service listens."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to bind. Off loopback only behind a TLS proxy: the tokens travel in the clear."""
    port: int = Field(ge=0, le=65_535)
    """TCP port; 0 lets the system choose (the log line `event=listening` says which)."""


class StoreSettings(Settings):
    """`[store]`: where the journal stands."""

    path: str = Field(min_length=1)
    """SQLite file, made if absent. A relative path is relative to the configuration file."""


class AlarmServiceSettings(Settings):
    """The whole file."""

    http: HttpSettings
    store: StoreSettings
    principal: tuple[Principal, ...]
    """Who may call, one `[[principal]]` each; at least one."""

    @field_validator("principal")
    @classmethod
    def _check_unique(cls, principals: tuple[Principal, ...]) -> tuple[Principal, ...]:
        if not principals:
            raise ValueError("at least one [[principal]] is needed, or nobody may call")
        _check_single("name", (principal.name for principal in principals))
        _check_single("token_sha256", (principal.token_sha256 for principal in principals))
        return principals


def _check_single(key: str, values: Iterable[str]) -> None:
    doubles = [value for value, count in Counter(values).items() if count > 1]
    if doubles:
        raise ValueError(f"{key} must be unique, but stands more than once: {', '.join(doubles)}")
