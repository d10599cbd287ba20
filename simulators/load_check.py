"""How what was stored differs from what a load committed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Differences:
    """Counts of readings, by node, quantity and phenomenon time."""

    committed: int = 0
    """In the ledger, without those that were discarded."""
    stored: int = 0
    """Of these gateways and this run, doubles included."""
    missing: int = 0
    """Acknowledged and not stored: lost."""
    missing_unacknowledged: int = 0
    """Committed, neither acknowledged nor stored."""
    double: int = 0
    """Stored more than once."""
    altered: int = 0
    """Stored with another value, or another reason."""
    unknown: int = 0
    """Stored, never committed."""
    doubted: int = 0
    """Committed as good and stored as uncertain: the platform's own quality control at work, no fault."""
    discarded: int = 0
    """Given up by the load itself, beyond its spools' limit; stored or not, it is no fault."""
    examples: list[str] = field(default_factory=list)

    def is_none(self, *, may_lack_unacknowledged: bool = False) -> bool:
        """Whether everything that was committed is stored, each reading once and as it was."""
        lacking = 0 if may_lack_unacknowledged else self.missing_unacknowledged
        return self.committed > 0 and not (self.missing or lacking or self.double or self.altered or self.unknown)

    def add(self, other: Differences, examples_max: int) -> None:
        """Adds those of other gateways; keeps so many examples."""
        for column in fields(self):
            if column.name != "examples":
                setattr(self, column.name, getattr(self, column.name) + getattr(other, column.name))
        self.examples = [*self.examples, *other.examples][:examples_max]
