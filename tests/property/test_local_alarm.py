"""The gateway's local alarms and the platform's columnar conditions say the same of the same readings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.alarm import ConditionDefinition
from contracts.condition import Direction
from contracts.fleet import FleetSnapshot
from contracts.quality import Reason
from edge_agent.outputs.local_alarm import LocalAlarms, LocalCondition
from edge_agent.outputs.output_settings import LocalConditionSettings
from stream_processor.fleet_index import FleetIndex
from stream_processor.pipeline.conditions import Conditions, Readings

SECOND = 1_000_000_000

FLEET = {
    "revision": 1,
    "districts": [{"district_id": "d", "name": "d"}],
    "sites": [{"site_id": "s", "district_id": "d", "domain": "gas", "name": "s", "latitude": 1.0, "longitude": 2.0}],
    "gateways": [{"gateway_id": "g", "district_id": "d", "name": "g"}],
    "nodes": [{"node_id": "gas-1", "gateway_id": "g", "bus_id": "b", "site_id": "s", "model": "m"}],
    "channels": [{"channel_id": 7, "node_id": "gas-1", "quantity": "methane_lel"}],
    "conditions": [],
}
CONTEXTS = FleetIndex(FleetSnapshot.model_validate(FLEET)).contexts


@given(
    direction=st.sampled_from(Direction),
    deadband=st.sampled_from([0.0, 1.0, 5.0]),
    on_delay_s=st.sampled_from([0.0, 1.0, 2.5]),
    off_delay_s=st.sampled_from([0.0, 1.0, 4.0]),
    steps=st.lists(st.tuples(st.integers(0, 4), st.floats(15, 35), st.booleans()), max_size=60),
    split=st.integers(1, 60),
)
def test_the_gateway_and_the_platform_change_at_the_same_readings(
    direction, deadband, on_delay_s, off_delay_s, steps, split
):
    rule = {"direction": direction, "deadband": deadband, "on_delay_s": on_delay_s, "off_delay_s": off_delay_s}
    readings, now_ns = [], 0
    for wait, value, is_good in steps:
        now_ns += wait * SECOND // 2
        readings.append((7, now_ns, value, 0 if is_good else Reason.NO_ANSWER.value))
    alarms = LocalAlarms(
        [
            (
                "siren",
                [
                    LocalCondition(
                        7, LocalConditionSettings(node_id="gas-1", quantity="methane_lel", set_point=25.0, **rule)
                    )
                ],
            )
        ]
    )
    local = [(each.phenomenon_ns, each.is_on) for each in alarms.take(readings)]
    if local and not local[0][1]:
        local = local[1:]  # what the output is told after a start
    assert local == platform_changes(rule, [each for each in readings if each[3] == 0], split)


def platform_changes(rule, good, split):
    """What the stream processor's columns make of the same readings, given in records of `split` rows."""
    definition = ConditionDefinition(
        condition_id="c", channel_id=7, set_point=25.0, priority=1, colour="red", title="t", **rule
    )
    conditions = Conditions()
    conditions.take_definitions([definition], {7: 0}, 1)
    changes = []
    for start in range(0, len(good), split):
        rows = good[start : start + split]
        record = Readings(
            row=np.zeros(len(rows), dtype=np.intp),
            event_ns=np.array([each[1] for each in rows], dtype=np.int64),
            value=np.array([each[2] for each in rows]),
            score_ewma_z=np.full(len(rows), np.nan),
            is_late=np.zeros(len(rows), dtype=np.bool_),
        )
        events, _ = conditions.evaluate(record, CONTEXTS, 0)
        changes += [(event.phenomenon_ns, event.state == "active") for event in events]
    return changes
