"""The life of a node: every state with every wanted state."""

from __future__ import annotations

import itertools

import pytest

from contracts.fleet import LifecycleState
from device_registry.errors import TransitionRefusedError
from device_registry.node_life_cycle import check_transition

ALLOWED = {
    ("planned", "provisioned"),
    ("planned", "retired"),
    ("provisioned", "active"),
    ("provisioned", "retired"),
    ("active", "maintenance"),
    ("active", "retired"),
    ("maintenance", "active"),
    ("maintenance", "retired"),
    ("retired", "provisioned"),
}


@pytest.mark.parametrize(("state", "wanted"), list(itertools.product(LifecycleState, LifecycleState)))
def test_a_node_goes_only_where_the_table_leads(state, wanted):
    if (state.value, wanted.value) in ALLOWED:
        check_transition("gas-1", state, wanted)
        return
    with pytest.raises(TransitionRefusedError, match=f"gas-1 is {state} and cannot become {wanted}"):
        check_transition("gas-1", state, wanted)
