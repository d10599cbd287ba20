"""Identifiers of the fleet: city → district → site → gateway → bus → node → channel.

One grammar for all names, so that each is at once a Sparkplug topic element (no `+ / #`, Sparkplug 3.0
section 4.2), an InfluxDB tag without escapes, a file name and a URL path element: lower-case ASCII letters,
digits, `-`, `_` and `.`; begins and ends with a letter or digit; 1 to 64 characters.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from contracts.plain_settings import Limits

IDENTIFIER_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$"
IDENTIFIER_WORDS: Final = (
    "an identifier has 1 to 64 lower-case letters, digits, '-', '_' and '.', and begins and ends with a letter or digit"
)
"""The grammar for people, in fault messages."""
CHANNEL_ID_MAX: Final = 2**32 - 1

Identifier = Annotated[str, Limits(pattern=IDENTIFIER_PATTERN)]
ChannelId = Annotated[int, Limits(ge=1, le=CHANNEL_ID_MAX)]
"""Registry-given number of a channel, u32, never used again for another channel. 0 means "no channel"."""

_IDENTIFIER = re.compile(IDENTIFIER_PATTERN)


def is_identifier(text: str) -> bool:
    """Whether `text` may name a district, site, gateway, bus or node."""
    return _IDENTIFIER.fullmatch(text) is not None


def format_metric_name(node_id: str, quantity: str) -> str:
    """The Sparkplug metric name of a channel: `<node_id>/<quantity>` (design, section 4)."""
    return f"{node_id}/{quantity}"


def parse_metric_name(metric_name: str) -> tuple[str, str] | None:
    """`(node_id, quantity)` of a channel's metric name, or None if the metric is no channel of ours."""
    node_id, separator, quantity = metric_name.partition("/")
    if not separator or not is_identifier(node_id) or not is_identifier(quantity):
        return None
    return node_id, quantity
