"""What an edge agent says that it had to give up: its own counters, in NBIRTH and NDATA. Pure.

A hole in the history of a channel has two causes that look alike on a chart: nobody measured, or the gateway's disk was
full and the agent took readings out of its spool. These counters tell them apart. An edge node of somebody else sends
none of them, and has no losses that anybody knows of.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from contracts import uplink
from contracts.query import AgentLosses
from contracts.sparkplug.payload import Payload

_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        uplink.THINNED: "thinned_readings_total",
        uplink.DISCARDED: "discarded_readings_total",
        uplink.DISCARDED_SAMPLES: "discarded_samples_total",
        uplink.FAILED_COMMITS: "failed_commits_total",
        uplink.SPOOLS_SET_ASIDE: "spools_set_aside_total",
    }
)
"""Fields of AgentLosses by the name of their metric."""


def read_losses(payload: Payload, known: AgentLosses | None, received_ns: int) -> AgentLosses | None:
    """What is known of an agent's losses after a payload of its node (not of a device).

    Args:
        payload: NBIRTH or NDATA. A counter that it does not name keeps what was known of it.
        known: before.
        received_ns: our clock.
    """
    told = {
        _FIELDS[metric.name]: metric.value
        for metric in payload.metrics
        if metric.name is not None and metric.name in _FIELDS and _is_count(metric.value)
    }
    if not told:
        return known
    before = AgentLosses() if known is None else known
    after = before.model_copy(update=told)
    return before if after == before and known is not None else after.model_copy(update={"since_ns": received_ns})


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
