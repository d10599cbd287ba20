"""The error tree of `contracts`.

ContractError              bad input; waiting never helps, so a caller quarantines it and counts it
├── TopicError             not a Sparkplug B topic
├── PayloadError           not a Sparkplug B payload (truncated, oversized, inconsistent)
├── RecordError            not a record as it travels on Kafka
└── ConfigurationError     a configuration file with one or more faults, all of them in `faults`
"""

from __future__ import annotations

from dataclasses import dataclass


class ContractError(ValueError):
    """Root of all errors that `contracts` raises. Permanent: the same input fails again."""


class TopicError(ContractError):
    """A topic that is not in the Sparkplug B namespace, or names an impossible message."""


class PayloadError(ContractError):
    """Bytes that are not a valid Sparkplug B payload, or a payload that cannot be encoded."""


class RecordError(ContractError):
    """Bytes that are not a record message of this version."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a configuration: where it is, what stands there, what is allowed."""

    path: str
    """Place in the document, JSONPath-like: `$.bus[3].baud_rate`."""
    message: str
    """What is wrong, with the value and what is allowed."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigurationError(ContractError):
    """All faults of one configuration document at once."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        self.source = source
        self.faults = faults
        super().__init__(source, faults)

    def __str__(self) -> str:
        return "\n".join(f"{self.source}: {fault}" for fault in self.faults)
