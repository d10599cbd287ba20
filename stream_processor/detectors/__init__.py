"""Detectors: one algorithm a file, numpy arrays over channels, `score` before `learn`.

A detector is one module and one line in `DETECTORS`; tests/unit/stream_processor/detectors applies every law of
`contract` to every line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from stream_processor.detectors.combined import Combined
from stream_processor.detectors.contract import Detector
from stream_processor.detectors.ewma_z import EwmaZ
from stream_processor.detectors.flat_line import FlatLine
from stream_processor.detectors.group_contract import GroupDetector
from stream_processor.detectors.group_distance import GroupDistance
from stream_processor.detectors.group_forest import GroupForest
from stream_processor.detectors.hour_baseline import HourBaseline
from stream_processor.detectors.novelty import Novelty
from stream_processor.detectors.rate_of_change import RateOfChange
from stream_processor.detectors.residual import Residual
from stream_processor.detectors.robust_z import RobustZ

DETECTORS: Final[Mapping[str, Callable[[], Detector]]] = MappingProxyType(
    {
        EwmaZ.NAME: EwmaZ,
        RobustZ.NAME: RobustZ,
        FlatLine.NAME: FlatLine,
        RateOfChange.NAME: RateOfChange,
        HourBaseline.NAME: HourBaseline,
        Novelty.NAME: Novelty,
        Residual.NAME: Residual,
        Combined.NAME: Combined,
    }
)

GROUP_DETECTORS: Final[Mapping[str, Callable[[int], GroupDetector]]] = MappingProxyType(
    {GroupDistance.NAME: GroupDistance, GroupForest.NAME: GroupForest}
)
"""Detectors of assets, by the number of channels of the largest asset: see `group_contract`."""
