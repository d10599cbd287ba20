"""Refits isolation forests beside a job: one process at a time, of low priority, that never holds up scoring.

scikit-learn takes a second to import, 100 MB, and the interpreter while it fits: all that stays in a process of its
own, which ends after each forest. The job asks now and then (`step`): forests that are ready score from then on, and
what is due is begun. Of a refit that fails, crashes or takes too long the old forest stays, and the job is told
(`RefitFailure`).

    python -m stream_processor.refit_forest < order > forest          what that process runs
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Final, NamedTuple

from stream_processor.detectors.group_forest import GroupForest
from stream_processor.detectors.isolation_forest import FittedForest, RefitOrder
from stream_processor.detectors.refit_message import decode_fitted, decode_order, encode_fitted, encode_order

TIMEOUT_S: Final = 120.0
"""A forest takes about 2 s with its process; on a machine that is full, much longer."""
_NICENESS: Final = 10
_COMMAND: Final = (sys.executable, "-m", "stream_processor.refit_forest")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_ERROR_CHARACTERS: Final = 300
_WAITING_MAX: Final = 4
"""Orders that wait: each holds a group's good frames, 130 kB at most."""


class RefitFailure(NamedTuple):
    """An order of which no forest came."""

    row: int
    serial: int
    text: str


class ForestRefitter:
    """Fits forests in the background, one at a time. `step` returns at once and raises nothing of a refit's."""

    def __init__(self, command: tuple[str, ...] = _COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command = command
        self._timeout_s = timeout_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="refit-forest")
        self._waiting: deque[tuple[GroupForest, RefitOrder]] = deque()
        self._running: tuple[GroupForest, Future[FittedForest | RefitFailure]] | None = None
        self._starting = Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def step(self, forests: Iterable[GroupForest]) -> list[RefitFailure]:
        """Hands out what is ready, takes what is due and starts the next. Gives the refit that failed, if one did.

        Args:
            forests: those that there are now. What comes of an order goes to the one that gave it, or to nobody if
                that has been put aside since.
        """
        failures = self._hand_out()
        for forest in forests:
            room = _WAITING_MAX - len(self._waiting)
            if room == 0:
                break
            self._waiting.extend((forest, order) for order in forest.due_refits(room))
        if self._running is None and self._waiting:
            forest, order = self._waiting.popleft()
            self._running = forest, self._thread.submit(self._refit, order)
        return failures

    def _hand_out(self) -> list[RefitFailure]:
        if self._running is None or not self._running[1].done():
            return []
        forest, answer = self._running[0], self._running[1].result()
        self._running = None
        if isinstance(answer, FittedForest):
            forest.take_fitted(answer)
            return []
        forest.take_failure(answer.row, answer.serial)
        return [answer]

    def close(self) -> None:
        """Drops what waits and ends the refit that runs: its process is gone when this returns."""
        self._waiting.clear()
        with self._starting:
            self._is_closed = True
            if self._process is not None:
                self._process.kill()
        self._thread.shutdown(wait=True)

    def _refit(self, order: RefitOrder) -> FittedForest | RefitFailure:
        try:
            code, output, errors = self._run(encode_order(order))
            if code == 0:
                return decode_fitted(output)
            text = f"process ended with {code}: {errors.decode(errors='replace').strip()[-_ERROR_CHARACTERS:]}"
        except (OSError, ValueError, subprocess.TimeoutExpired) as fault:
            text = str(fault)
        return RefitFailure(order.row, order.serial, f"forest {order.serial} of asset {order.row}: {text}")

    def _run(self, encoded: bytes) -> tuple[int, bytes, bytes]:
        """The program's exit code, its output and what it said of errors. Raises OSError, TimeoutExpired."""
        with self._starting:
            if self._is_closed:
                raise OSError("the refitter is closed")
            pipe = subprocess.PIPE
            process = self._process = subprocess.Popen(
                self._command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, **_ONE_THREAD}
            )
        with process:
            try:
                output, errors = process.communicate(encoded, self._timeout_s)
            except BaseException:
                process.kill()  # what the `with` waits for
                raise
        return process.returncode, output, errors


def main() -> None:
    """Reads an order from standard input, writes its forest to standard output."""
    # Only this process pays for scikit-learn.
    from stream_processor.detectors.isolation_fit import fit_forest  # noqa: PLC0415

    os.nice(_NICENESS)
    sys.stdout.buffer.write(encode_fitted(fit_forest(decode_order(sys.stdin.buffer.read()))))


if __name__ == "__main__":
    main()
