"""The files of the Numenta Anomaly Benchmark and their labels (MIT), read from where they are; nothing is copied."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from tests.benchmarks.nab.scoring import Window

ROOT: Final = Path(os.environ.get("CITYSENSE_NAB", Path(__file__).parents[4] / "shared" / "benchmarks" / "nab"))
"""`data` and `labels` of github.com/numenta/NAB."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One series of the benchmark."""

    name: str
    times_ns: NDArray[np.int64]
    """As the file says them, read as UTC."""
    values: NDArray[np.float64]
    windows: tuple[Window, ...]


def read_corpus(root: Path = ROOT) -> list[LabelledFile]:
    """All files with their windows, by name. Raises OSError if there is no benchmark at `root`."""
    labels: dict[str, list[tuple[str, str]]] = json.loads((root / "labels" / "combined_windows.json").read_text())
    return [_read_file(root, name, labels[name]) for name in sorted(labels)]


def _read_file(root: Path, name: str, labels: list[tuple[str, str]]) -> LabelledFile:
    table = csv.read_csv(root / "data" / name)
    times = table["timestamp"].to_numpy().astype("datetime64[ns]")
    values = table["value"].to_numpy().astype(np.float64)
    limits = np.array(labels, dtype="datetime64[ns]").reshape(-1, 2)
    windows = tuple(Window(_row_at(times, first), _row_at(times, last)) for first, last in limits)
    return LabelledFile(name, times.astype(np.int64), values, windows)


def _row_at(times: NDArray[np.datetime64], time: np.datetime64) -> int:
    """The first row of that time: a few files tell an hour twice (daylight saving)."""
    return int(np.flatnonzero(times == time)[0])
