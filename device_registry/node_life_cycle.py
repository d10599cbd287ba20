"""The life of a node, as a table. Pure.

A node that is new in a fleet file begins in the state that the file names; from then on only this table (through
`PATCH /v1/nodes/{node_id}`) and `import --retire-missing` change it, so that importing a file again never puts a
node that is under maintenance back to work.

Retired is not the end: a node that was retired by mistake is commissioned again and keeps its channel numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from contracts.fleet import LifecycleState
from device_registry.errors import TransitionRefusedError

NODE_TRANSITIONS: Final[Mapping[LifecycleState, frozenset[LifecycleState]]] = MappingProxyType(
    {
        LifecycleState.PLANNED: frozenset({LifecycleState.PROVISIONED, LifecycleState.RETIRED}),
        LifecycleState.PROVISIONED: frozenset({LifecycleState.ACTIVE, LifecycleState.RETIRED}),
        LifecycleState.ACTIVE: frozenset({LifecycleState.MAINTENANCE, LifecycleState.RETIRED}),
        LifecycleState.MAINTENANCE: frozenset({LifecycleState.ACTIVE, LifecycleState.RETIRED}),
        LifecycleState.RETIRED: frozenset({LifecycleState.PROVISIONED}),
    }
)


def check_transition(node_id: str, state: LifecycleState, wanted: LifecycleState) -> None:
    """Raises TransitionRefusedError unless the table leads from `state` to `wanted`."""
    if wanted not in NODE_TRANSITIONS[state]:
        raise TransitionRefusedError(node_id, state, wanted, NODE_TRANSITIONS[state])
