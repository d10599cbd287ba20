"""Who may call what: bearer tokens, roles, and the one check that every REST route makes.

A service is configured with a table of principals. Only the SHA-256 of a token is kept (tokens are random,
32 bytes or more, so a slow hash would add nothing). Roles are sets of permissions, not levels of a ladder.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pydantic import Field

from contracts.configuration import Settings


class Permission(StrEnum):
    """What a route can ask for."""

    READ = "read"
    ACKNOWLEDGE = "acknowledge"
    """Acknowledge, shelve, and comment on alarms."""
    RAISE = "raise"
    """Post alarm conditions: a stream processor."""
    MANAGE_FLEET = "manage_fleet"


class Role(StrEnum):
    """Who somebody (a person or a service) is."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ENGINEER = "engineer"
    PROCESSOR = "processor"


ROLE_PERMISSIONS: Final[Mapping[Role, frozenset[Permission]]] = MappingProxyType(
    {
        Role.VIEWER: frozenset({Permission.READ}),
        Role.OPERATOR: frozenset({Permission.READ, Permission.ACKNOWLEDGE}),
        Role.ENGINEER: frozenset({Permission.READ, Permission.ACKNOWLEDGE, Permission.MANAGE_FLEET}),
        Role.PROCESSOR: frozenset({Permission.READ, Permission.RAISE}),
    }
)


class Principal(Settings):
    """Somebody who may call, as a service's configuration lists them."""

    name: str = Field(min_length=1, max_length=64)
    role: Role
    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the bearer token, lower-case hex."""

    def may(self, permission: Permission) -> bool:
        """Whether this principal's role has the permission."""
        return permission in ROLE_PERMISSIONS[self.role]


def hash_token(token: str) -> str:
    """What the configuration keeps of a token: SHA-256 of its UTF-8, lower-case hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def authenticate(authorization: str | None, principals: Iterable[Principal]) -> Principal | None:
    """The principal that an `Authorization` header proves, or None.

    Compares in constant time and looks at every principal, so that timing tells nothing.
    """
    if authorization is None:
        return None
    scheme, _, rest = authorization.partition(" ")
    token = rest.strip()
    if scheme.lower() != "bearer" or not token:
        return None
    digest = hash_token(token)
    found: Principal | None = None
    for principal in principals:
        if hmac.compare_digest(digest, principal.token_sha256):
            found = principal
    return found
