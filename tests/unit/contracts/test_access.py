"""Who may call what: the header, the principals, the roles."""

from __future__ import annotations

import hashlib

import pytest
from pydantic import ValidationError

from contracts.access import ROLE_PERMISSIONS, Permission, Principal, Role, authenticate, hash_token

GOLDEN_ROLES = {
    "viewer": {"read"},
    "operator": {"read", "acknowledge"},
    "engineer": {"read", "acknowledge", "manage_fleet"},
    "processor": {"read", "raise"},
}
"""Changing a role changes who can touch a city's alarms: it is done here and there, on purpose."""
TOKEN = "q8Jm-0PzJ6f2bTn1y0g3sV7rX5cK4dLh"
WATCH = Principal(name="watch", role=Role.OPERATOR, token_sha256=hash_token(TOKEN))
PAGE = Principal(name="page", role=Role.VIEWER, token_sha256=hash_token("another token"))


def test_the_roles_are_what_they_are():
    assert {role.value: {each.value for each in may} for role, may in ROLE_PERMISSIONS.items()} == GOLDEN_ROLES
    assert set(ROLE_PERMISSIONS) == set(Role)


@pytest.mark.parametrize("permission", Permission)
def test_every_permission_is_held_by_a_role_and_by_not_every_role_but_read(permission):
    holders = {role for role in Role if permission in ROLE_PERMISSIONS[role]}
    assert holders
    assert (holders == set(Role)) is (permission is Permission.READ)


def test_a_principal_may_what_its_role_may():
    assert WATCH.may(Permission.ACKNOWLEDGE)
    assert not WATCH.may(Permission.RAISE)
    assert not PAGE.may(Permission.ACKNOWLEDGE)


def test_only_the_hash_of_a_token_is_kept():
    assert hash_token(TOKEN) == hashlib.sha256(TOKEN.encode()).hexdigest()
    assert TOKEN not in WATCH.model_dump_json()


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} "])
@pytest.mark.parametrize("principals", [[WATCH, PAGE], [PAGE, WATCH], [WATCH]])
def test_the_right_token_proves_its_principal_wherever_it_stands(header, principals):
    assert authenticate(header, principals) is WATCH


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer    ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Token {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.lower()}",
        f"Bearer {WATCH.token_sha256}",
        f"Bearer Bearer {TOKEN}",
        "Bearer 桥",
    ],
)
def test_anything_else_proves_nobody(header):
    assert authenticate(header, [WATCH, PAGE]) is None


def test_nobody_is_proved_where_nobody_is_configured():
    assert authenticate(f"Bearer {TOKEN}", []) is None


def test_an_empty_token_proves_nobody_even_if_somebody_configured_its_hash():
    careless = Principal(name="careless", role=Role.ENGINEER, token_sha256=hash_token(""))
    for header in ("Bearer", "Bearer ", "Bearer   "):
        assert authenticate(header, [careless]) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("token_sha256", TOKEN),
        ("token_sha256", hash_token(TOKEN).upper()),
        ("token_sha256", hash_token(TOKEN) + "\n"),
        ("role", "root"),
        ("name", ""),
        ("token", TOKEN),
    ],
)
def test_a_principal_that_is_configured_wrongly_is_refused(key, value):
    with pytest.raises(ValidationError, match=key):
        Principal.model_validate(
            {"name": "watch", "role": "operator", "token_sha256": hash_token(TOKEN)} | {key: value}
        )


def test_every_principal_is_looked_at_even_after_the_right_one_so_that_timing_tells_nothing():
    looked_at = []

    def principals():
        for principal in (WATCH, PAGE):
            looked_at.append(principal.name)
            yield principal

    assert authenticate(f"Bearer {TOKEN}", principals()) is WATCH
    assert looked_at == ["watch", "page"]
