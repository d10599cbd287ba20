"""A detector's state as bytes: numpy arrays (npz, no pickle) beside its name and version. Equal states, equal bytes."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_HEAD: Final = "head"


def encode_snapshot(name: str, version: int, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as bytes."""
    buffer = io.BytesIO()
    head = np.frombuffer(_head(name, version), dtype=np.uint8)
    np.savez(buffer, allow_pickle=False, **{_HEAD: head}, **arrays)
    return buffer.getvalue()


def decode_snapshot(snapshot: bytes, name: str, version: int, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """The arrays of these names, in this order.

    Raises:
        ValueError: the bytes are no snapshot, or one of another detector or version, or an array is missing.
    """
    try:
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as arrays:
            head = arrays[_HEAD].tobytes()
            found = [arrays[each] for each in names] if head == _head(name, version) else None
    except (ValueError, KeyError, TypeError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"no state of detector {name}: {error!r}") from error
    if found is None:
        raise ValueError(f"state of detector {head.decode(errors='replace')}, not {name} version {version}")
    return found


def _head(name: str, version: int) -> bytes:
    return f"{name} version {version}".encode()
