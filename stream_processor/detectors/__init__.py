"""Detectors: one algorithm a file, numpy arrays over channels, `score` before `learn`.

A detector is one module and one line in `DETECTORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from stream_processor.detectors.contract import Detector
from stream_processor.detectors.ewma_z import EwmaZ

DETECTORS: Final[Mapping[str, Callable[[], Detector]]] = MappingProxyType({"ewma_z": EwmaZ})
