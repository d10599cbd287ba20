"""One-time passwords and session tokens: how they are made, read, and kept (as a hash only).

A one-time password is 16 characters of an alphabet without look-alikes, in groups that people can read aloud:
`k7fd-9m2q-xw4t-p3hn`, 79 bits. Because it is random, a plain SHA-256 keeps it as safe as a slow hash would.
Randomness is injected: `choose` is `secrets.choice`.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from contracts.observation import NANOSECONDS_PER_SECOND

LETTERS: Final = "23456789abcdefghjkmnpqrstuvwxyz"
"""Digits and lower-case letters without 0, 1, i, l and o."""
PASSWORD_LENGTH: Final = 16
GROUP_LENGTH: Final = 4

PASSWORD_LIFE_NS: Final = 24 * 3_600 * NANOSECONDS_PER_SECOND
SESSION_LIFE_NS: Final = 12 * 3_600 * NANOSECONDS_PER_SECOND

USER_NAME_LENGTH_MAX: Final = 64
"""As long as `contracts.alarm.Acknowledgement.by` may be."""


def make_password(choose: Callable[[str], str]) -> str:
    """A fresh one-time password in groups."""
    letters = "".join(choose(LETTERS) for _ in range(PASSWORD_LENGTH))
    groups = (letters[at : at + GROUP_LENGTH] for at in range(0, PASSWORD_LENGTH, GROUP_LENGTH))
    return "-".join(groups)


def hash_password(password: str) -> str:
    """What is kept of a password as a person typed it: case, spaces and dashes do not matter."""
    typed = "".join(letter for letter in password.lower() if letter not in " -\t")
    return hashlib.sha256(b"one-time password:" + typed.encode()).hexdigest()


def hash_session_token(token: str) -> str:
    """What is kept of a session's token."""
    return hashlib.sha256(b"session:" + token.encode()).hexdigest()


def derive_csrf_token(session_token: str) -> str:
    """What a page of this session must send with each POST; tells nothing about the session's token."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()


def clean_user_name(typed: str) -> str | None:
    """The name with single spaces, or None if it is empty, too long or not printable."""
    name = " ".join(typed.split())
    return name if 0 < len(name) <= USER_NAME_LENGTH_MAX and name.isprintable() else None
