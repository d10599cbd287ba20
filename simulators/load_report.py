"""What a load says when it ends: as text for people, as JSON for tests. Pure; needs numpy."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np

from simulators.load_gateway import Counters

LATE_EDGES_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
"""Classes of lateness; the last one is open."""


@dataclass(slots=True)
class LoadFigures:
    """Everything that a load counts."""

    gateways: int
    channels: int
    rate_per_s: float
    counters: Counters = field(default_factory=Counters)
    late_batches: list[int] = field(default_factory=lambda: [0] * (len(LATE_EDGES_S) + 1))
    """By class of lateness: how long after it was due a batch was made."""
    unmade_batches: int = 0
    """Due while their gateway was dead."""
    connections: int = 0
    refused_connections: int = 0
    cut_connections: int = 0
    lost_connections: int = 0
    """Ended by the broker or the network."""
    deaths: int = 0
    breaches: int = 0
    unacknowledged_batches: int = 0
    unacknowledged_readings: int = 0
    made_s: float = 0.0
    """How long readings were made."""
    cpu_s: float = 0.0
    """Of this process meanwhile, and while it waited for the last acknowledgements."""
    acknowledged_after_s: array[float] = field(default_factory=lambda: array("d"))
    """Of each batch: from when it was due to its acknowledgement."""
    last_refusal: str = ""

    def note_late(self, late_s: float) -> None:
        """A batch was made so long after it was due."""
        for index, edge_s in enumerate(LATE_EDGES_S):
            if late_s < edge_s:
                self.late_batches[index] += 1
                return
        self.late_batches[-1] += 1

    @property
    def is_all_acknowledged(self) -> bool:
        """Whether nothing of what was made is still waiting."""
        return self.unacknowledged_batches == 0


def report_document(figures: LoadFigures) -> dict[str, object]:
    """The figures for a program."""
    p50_s, p99_s, most_s = _percentiles(figures)
    document = asdict(figures)
    document |= document.pop("counters")
    del document["acknowledged_after_s"]
    edges = [*(f"<{edge_s:g}" for edge_s in LATE_EDGES_S), f">={LATE_EDGES_S[-1]:g}"]
    document["late_batches"] = dict(zip(edges, figures.late_batches, strict=True))
    return document | {"acknowledged_p50_s": p50_s, "acknowledged_p99_s": p99_s, "acknowledged_max_s": most_s}


def report_lines(figures: LoadFigures) -> Iterator[str]:
    """The figures for people."""
    counters, made_s = figures.counters, max(figures.made_s, 1e-9)
    readings = counters.made_readings
    yield f"fleet          {figures.gateways:,} gateways, {figures.channels:,} channels"
    yield (
        f"made           {readings:,} readings in {counters.made_batches:,} batches, {figures.made_s:.1f} s: "
        f"{readings / made_s:,.0f}/s of {figures.rate_per_s:,.0f}/s wanted; {counters.bad_readings:,} not good"
    )
    yield f"late           {_late(figures)}"
    yield (
        f"sent           {counters.sent_live_batches:,} batches live, {counters.unsent_batches:,} only as history, "
        f"{counters.resent_batches:,} again"
    )
    yield (
        f"acknowledged   {counters.acknowledged_batches:,} batches, {counters.acknowledged_readings:,} readings; "
        f"waiting: {figures.unacknowledged_batches:,} batches, {figures.unacknowledged_readings:,} readings"
    )
    if figures.acknowledged_after_s:
        p50_s, p99_s, most_s = _percentiles(figures)
        yield f"               after p50 {p50_s:.3f} s, p99 {p99_s:.3f} s, at most {most_s:.3f} s"
    yield (
        f"discarded      {counters.discarded_batches:,} batches beyond the spools' limit, "
        f"{counters.lost_batches:,} of them told to the host; {figures.unmade_batches:,} not made by dead gateways"
    )
    yield (
        f"sessions       {figures.connections:,} connections, {counters.births:,} births, "
        f"{figures.cut_connections:,} cut, {figures.lost_connections:,} lost, "
        f"{figures.refused_connections:,} refused{_because(figures)}; {figures.deaths:,} gateways died"
    )
    yield (
        f"host asked     {counters.rebirths_asked:,} rebirths, {counters.resends_asked:,} resends; "
        f"{counters.refused_commands:,} commands not understood"
    )
    yield f"breaches       {figures.breaches:,}"
    yield f"CPU            {figures.cpu_s:.2f} s, {1e6 * figures.cpu_s / max(readings, 1):.2f} µs a reading"


def _late(figures: LoadFigures) -> str:
    total = max(sum(figures.late_batches), 1)
    names = [*(f"under {edge_s:g} s" for edge_s in LATE_EDGES_S), f"{LATE_EDGES_S[-1]:g} s or more"]
    rows = zip(names, figures.late_batches, strict=True)
    return ", ".join(f"{name}: {count:,} ({100 * count / total:.2f} %)" for name, count in rows if count)


def _because(figures: LoadFigures) -> str:
    return f" ({figures.last_refusal})" if figures.last_refusal else ""


def _percentiles(figures: LoadFigures) -> tuple[float, float, float]:
    """p50, p99 and the greatest; zeros if nothing was acknowledged."""
    after_s = figures.acknowledged_after_s
    if not after_s:
        return 0.0, 0.0, 0.0
    p50_s, p99_s = np.percentile(np.frombuffer(after_s), [50, 99])
    return float(p50_s), float(p99_s), max(after_s)
