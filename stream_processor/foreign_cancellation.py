"""A cancellation that nobody asked for is an error of a connection, not an end (shell: the running task).

asyncio's libraries leak the cancellation of a task of their own to whoever awaits it: aiokafka 0.14 was seen to do so
when its coordinator or its metadata task ended with a broker that was killed. Unguarded, the task that awaited it ends
as if it had been asked to: in silence, and its process with exit code 0.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def foreign_cancellation_as_error(what: str) -> Iterator[None]:
    """Around whatever awaits such a library, in a task.

    Args:
        what: what was awaited, for the error's text.

    Raises:
        ConnectionAbortedError: a CancelledError came although nobody has cancelled this task (`Task.cancelling`). It is
            an OSError: waiting and trying again helps.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise ConnectionAbortedError(f"{what} was cancelled from within") from error
