"""The error tree of `device_registry`.

RegistryError
├── UnknownNodeError          permanent: no node has this name
├── TransitionRefusedError    permanent: a node's life does not lead there from where it is
├── StoreVersionError         permanent: the store is of another version of this program
├── StoreHeldError            permanent: another registry service works on this database
├── StoreRefusedError         permanent: the database will never take these rows
└── StoreUnavailableError     transient: the disk is full or locked, the database away; the caller tries again

A fleet file with faults is a `contracts.errors.ConfigurationError`, as any configuration.
"""

from __future__ import annotations

from collections.abc import Iterable

from contracts.fleet import LifecycleState


class RegistryError(Exception):
    """Root of all errors that `device_registry` raises."""


class UnknownNodeError(RegistryError):
    """No node has this name."""

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        super().__init__(node_id)

    def __str__(self) -> str:
        return f"there is no node {self.node_id}"


class TransitionRefusedError(RegistryError):
    """A node cannot go to this state from where it is."""

    def __init__(
        self, node_id: str, state: LifecycleState, wanted: LifecycleState, allowed: Iterable[LifecycleState]
    ) -> None:
        self.node_id = node_id
        self.state = state
        self.wanted = wanted
        self.allowed = sorted(allowed)
        super().__init__(node_id, state, wanted, self.allowed)

    def __str__(self) -> str:
        allowed = ", ".join(self.allowed)
        return f"node {self.node_id} is {self.state} and cannot become {self.wanted}, only {allowed}"


class StoreVersionError(RegistryError):
    """It holds a registry of another version of this program: it is left untouched."""

    def __init__(self, place: str, found: int, known: int) -> None:
        self.place = place
        self.found = found
        self.known = known
        super().__init__(place, found, known)

    def __str__(self) -> str:
        return f"{self.place}: registry version {self.found}, this program knows {self.known}"


class StoreHeldError(RegistryError):
    """Two services would tell their readers different revisions: the second one does not begin."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)

    def __str__(self) -> str:
        return f"the registry is in use by {self.holder}"


class StoreRefusedError(RegistryError):
    """A constraint or a type speaks against these rows, now and later; nothing of the attempt was kept."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the registry refuses this: {self.cause}"


class StoreUnavailableError(RegistryError):
    """The database could not read or commit now. Waiting may help.

    Nothing of the attempt was kept; or all of it, where the connection broke just as PostgreSQL committed. An import
    and a state change may be told again: the same again changes nothing.
    """

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the registry cannot be read or written now: {self.cause}"
