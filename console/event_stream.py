"""Server-sent events on the wire (WHATWG HTML, section 9.2.6): `event: NAME`, `data: LINE`…, an empty line."""

from __future__ import annotations


def encode_event(name: str, payload: str) -> bytes:
    """One event. Line breaks of the payload become `data:` lines, which the browser joins with a line feed.

    Raises:
        ValueError: if the name has a line break (it would be a field of its own).
    """
    if "\n" in name or "\r" in name:
        raise ValueError(f"an event's name has no line break: {name!r}")
    lines = payload.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    text = f"event: {name}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
    return text.encode()
