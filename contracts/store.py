"""Where a service keeps its tables: a SQLite file on one machine, or a PostgreSQL database. Pure.

[store]
path = "alarms.sqlite"

[store]
url = "postgresql://citysense@127.0.0.1:5432/alarm_service"
password_file = "postgresql.password"
"""

from __future__ import annotations

from typing import Final, Self
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, model_validator

from contracts.configuration import Settings
from contracts.service import is_loopback

_ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})
"""Values of libpq's `sslmode` that never send anything in the clear."""


def _check_url(url: str) -> None:
    """Raises ValueError, never with the address in it: a password may stand there."""
    parts = urlsplit(url)
    if parts.scheme != "postgresql" or not (parts.hostname and parts.username and parts.path.strip("/")):
        raise ValueError("url is not postgresql://USER@HOST:PORT/DATABASE")
    if parts.password is not None:
        raise ValueError("a password does not stand in url but in the file that password_file names")
    modes = parse_qs(parts.query).get("sslmode", [])
    if not is_loopback(parts.hostname) and not _ENCRYPTED & set(modes):
        raise ValueError("url is not loopback: add ?sslmode=verify-full (or verify-ca, require)")


class StoreSettings(Settings):
    """`[store]`: either `path`, or `url` with or without `password_file`."""

    path: str | None = Field(default=None, min_length=1)
    """SQLite file, made if absent. A relative path is relative to the configuration file."""
    url: str | None = None
    """A PostgreSQL database: `postgresql://USER@HOST:PORT/DATABASE`, libpq's options after `?`."""
    password_file: str | None = Field(default=None, min_length=1)
    """Holds the user's password in PostgreSQL; read at each connection, so that it can be changed while we run."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.path is None) is (self.url is None):
            raise ValueError("exactly one of path (SQLite) and url (PostgreSQL) is needed")
        if self.url is not None:
            _check_url(self.url)
        if self.password_file is not None and self.url is None:
            raise ValueError("password_file goes with url")
        return self
