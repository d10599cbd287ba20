"""The pipeline's state as bytes: numpy arrays (npz, no pickle) and a JSON head. Versioned; equal states, equal bytes.

About 150 bytes a channel with `score_ewma_z` alone, 900 with a default set. What the fleet says (limits, conditions,
contexts) is not in it: the fleet is taken after.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.alarm import ConditionEvent
from contracts.condition import LaneState
from contracts.record import Floats, Int64s, UInt8s, UInt32s
from stream_processor.pipeline.conditions import ConditionKey

_VERSION: Final = 1
_SCORES_MAGIC: Final = b"citysense scores 1\n"
_LENGTH: Final = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class PipelineState:
    """What a pipeline knows beside its fleet."""

    channel_ids: UInt32s
    """By row."""
    gateway: NDArray[np.intp]
    """By row: position in `gateway_ids`."""
    gateway_ids: tuple[str, ...]
    times: Int64s
    numbers: Floats
    clocks: Int64s
    scores: bytes
    """Of the detectors (`encode_scores`); empty in a state of before there were several."""
    lanes: Mapping[ConditionKey, LaneState]
    withdrawals: tuple[ConditionEvent, ...]
    """To be told with the next record."""
    returns: Mapping[str, ConditionEvent]
    """How each active condition would return, should the next fleet not define it any more."""
    looked_ns: int


def encode_scores(of_channels: bytes, of_groups: bytes) -> bytes:
    """The states of the detectors of channels and of groups, as one."""
    return b"".join((_SCORES_MAGIC, _LENGTH.pack(len(of_channels)), of_channels, of_groups))


def decode_scores(snapshot: bytes) -> tuple[bytes, bytes]:
    """The states of channels and of groups. One from before groups were scored is that of channels, and no groups."""
    at = len(_SCORES_MAGIC) + _LENGTH.size
    if not snapshot.startswith(_SCORES_MAGIC) or len(snapshot) < at:
        return snapshot, b""
    (length,) = _LENGTH.unpack_from(snapshot, len(_SCORES_MAGIC))
    return snapshot[at : at + length], snapshot[at + length :]


def encode_state(state: PipelineState) -> bytes:
    """The state as bytes."""
    head = {
        "version": _VERSION,
        "gateway_ids": state.gateway_ids,
        "lanes": [[*key, *lane] for key, lane in state.lanes.items()],
        "withdrawals": [event.model_dump(mode="json") for event in state.withdrawals],
        "returns": {name: event.model_dump(mode="json") for name, event in state.returns.items()},
        "looked_ns": state.looked_ns,
    }
    arrays: dict[str, Any] = {
        "head": _bytes(json.dumps(head, separators=(",", ":")).encode()),
        "channel_ids": state.channel_ids,
        "gateway": state.gateway.astype(np.uint32),
        "times": state.times,
        "numbers": state.numbers,
        "clocks": state.clocks,
        "scores": _bytes(state.scores),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def decode_state(snapshot: bytes) -> PipelineState:
    """Raises ValueError if `snapshot` is none of this version."""
    try:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as arrays:
            head = json.loads(arrays["head"].tobytes())
            if head["version"] != _VERSION:
                raise ValueError(f"pipeline state of version {head['version']}, not {_VERSION}")
            return PipelineState(
                channel_ids=arrays["channel_ids"],
                gateway=arrays["gateway"].astype(np.intp),
                gateway_ids=tuple(head["gateway_ids"]),
                times=arrays["times"],
                numbers=arrays["numbers"],
                clocks=arrays["clocks"],
                scores=arrays["scores"].tobytes() if "scores" in arrays.files else b"",
                lanes={ConditionKey(name, late): LaneState(on, since) for name, late, on, since in head["lanes"]},
                withdrawals=tuple(ConditionEvent.model_validate(event) for event in head["withdrawals"]),
                returns={name: ConditionEvent.model_validate(event) for name, event in head["returns"].items()},
                looked_ns=int(head["looked_ns"]),
            )
    except (KeyError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"no pipeline state: {error!r}") from error


def _bytes(data: bytes) -> UInt8s:
    return np.frombuffer(data, dtype=np.uint8)
