"""The error tree of `device_registry`.

RegistryError
├── UnknownNodeError          permanent: no node has this name
├── TransitionRefusedError    permanent: a node's life does not lead there from where it is
├── StoreVersionError         permanent: the file is of another version of this program
└── StoreUnavailableError     transient: the disk is full, slow or locked; the caller tries again

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
    """The file holds a registry of another version of this program: it is left untouched."""

    def __init__(self, path: str, found: int, known: int) -> None:
        self.path = path
        self.found = found
        self.known = known
        super().__init__(path, found, known)

    def __str__(self) -> str:
        return f"{self.path}: registry version {self.found}, this program knows {self.known}"


class StoreUnavailableError(RegistryError):
    """SQLite could not read or commit now; nothing of the attempt was kept. Waiting may help."""

    def __init__(self, cause: str) -> None:
        self.cause = cause
        super().__init__(cause)

    def __str__(self) -> str:
        return f"the registry cannot be read or written now: {self.cause}"
