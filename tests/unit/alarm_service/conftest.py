"""Events and journals for the tests of the alarm service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alarm_service.journal import Journal
from contracts.alarm import ConditionEvent, ConditionState

SECOND_NS = 1_000_000_000
START_NS = 1_790_000_000 * SECOND_NS


@pytest.fixture
def at() -> Callable[[float], int]:
    """Seconds of the test's story → nanoseconds UTC."""
    return lambda second: START_NS + round(second * SECOND_NS)


@pytest.fixture
def make_event(at: Callable[[float], int]) -> Callable[..., ConditionEvent]:
    """`make_event("active", 5.0)`: the condition became active in second 5; any field by keyword."""

    def make(state: str, second: float, **fields: object) -> ConditionEvent:
        condition_id = str(fields.get("condition_id", "gas-1-high"))
        told = {
            "event_id": hashlib.md5(f"{condition_id} {state} {second}".encode()).hexdigest(),
            "condition_id": condition_id,
            "channel_id": 7,
            "state": ConditionState(state),
            "phenomenon_ns": at(second),
            "detected_ns": at(second + 0.1),
            "value": 26.5 if state == "active" else 18.0,
            "input_value": 26.5 if state == "active" else 18.0,
            "set_point": 25.0,
            "priority": 1,
            "colour": "red",
            "title": "Methane above 25 %LEL",
            "gateway_id": "gw-1",
            "node_id": "gas-1",
            "site_id": "station-1",
            "district_id": "north",
            "quantity": "methane_lel",
            "unit": "%{LEL}",
        }
        return ConditionEvent.model_validate(told | fields)

    return make


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "alarms.sqlite") as journal:
        yield journal
