"""A row of the append-only audit log: who did what to which record, and when."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from contracts.alarm import TimeNs


class Action(StrEnum):
    """What was done."""

    IMPORTED = "imported"
    """A fleet file; the rows before it in the same revision say what that changed."""
    ADDED = "added"
    CHANGED = "changed"
    RETIRED = "retired"
    RESTORED = "restored"
    """A retired channel that came back with its number."""
    REMOVED = "removed"


class Kind(StrEnum):
    """What it was done to."""

    FLEET = "fleet"
    DISTRICT = "district"
    SITE = "site"
    GATEWAY = "gateway"
    NODE = "node"
    CHANNEL = "channel"
    CONDITION = "condition"


class AuditEntry(BaseModel):
    """One row, as `GET /v1/audit` gives it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entry_id: int
    time_ns: TimeNs
    by: str
    """A principal's name, or `cli:<system user>`."""
    revision: int
    """The fleet's revision that this change belongs to."""
    action: Action
    kind: Kind
    key: str
    """The record's name; `<node_id>/<quantity>` for a channel, the file for a fleet."""
    detail: str
    """The whole record where it was added or removed, `field: before → after` where it was changed."""
