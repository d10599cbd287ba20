"""Refits isolation forests beside a job: one process at a time, of low priority, that never holds up scoring.

scikit-learn takes a second to import, 100 MB, and the interpreter while it fits: all that stays in a process of its
own, which ends after each forest. The job asks now and then (`step`): it gets what is ready and leaves what is due. A
refit that fails, crashes or takes too long is told (`RefitFailure`); the caller keeps its old forest.

    python -m stream_processor.refit_forest < order > forest          what that process runs
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple

from stream_processor.detectors.isolation_forest import FittedForest, RefitOrder
from stream_processor.detectors.refit_message import decode_fitted, decode_order, encode_fitted, encode_order

TIMEOUT_S: Final = 120.0
"""A forest takes about 2 s with its process; on a machine that is full, much longer."""
_NICENESS: Final = 10
_COMMAND: Final = (sys.executable, "-m", "stream_processor.refit_forest")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ERROR_CHARACTERS: Final = 300


class RefitFailure(NamedTuple):
    """An order of which no forest came."""

    row: int
    serial: int
    text: str


class ForestRefitter:
    """Fits forests in the background, one at a time. Its methods return at once and raise nothing of a refit's."""

    def __init__(self, command: tuple[str, ...] = _COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="refit-forest")
        self._waiting: deque[RefitOrder] = deque()
        self._running: Future[FittedForest | RefitFailure] | None = None

    def step(self, orders: Iterable[RefitOrder]) -> list[FittedForest | RefitFailure]:
        """Takes orders, gives what is ready, starts the next."""
        self._waiting.extend(orders)
        ready = []
        if self._running is not None and self._running.done():
            ready.append(self._running.result())
            self._running = None
        if self._running is None and self._waiting:
            self._running = self._thread.submit(self._refit, self._waiting.popleft())
        return ready

    def close(self) -> None:
        """Drops what waits, and waits for the refit that runs: at most its timeout."""
        self._waiting.clear()
        self._thread.shutdown(wait=True)

    def _refit(self, order: RefitOrder) -> FittedForest | RefitFailure:
        try:
            done = subprocess.run(
                self._command,
                input=encode_order(order),
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
                env={**os.environ, **_ONE_THREAD},
            )
            if done.returncode == 0:
                return decode_fitted(done.stdout)
            error = done.stderr.decode(errors="replace").strip()[-_ERROR_CHARACTERS:]
            text = f"process ended with {done.returncode}: {error}"
        except (OSError, ValueError, subprocess.TimeoutExpired) as fault:
            text = str(fault)
        return RefitFailure(order.row, order.serial, f"forest {order.serial} of asset {order.row}: {text}")


def main() -> None:
    """Reads an order from standard input, writes its forest to standard output."""
    # Only this process pays for scikit-learn.
    from stream_processor.detectors.isolation_fit import fit_forest  # noqa: PLC0415

    os.nice(_NICENESS)
    sys.stdout.buffer.write(encode_fitted(fit_forest(decode_order(sys.stdin.buffer.read()))))


if __name__ == "__main__":
    main()
