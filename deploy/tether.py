"""Ties a program to its supervisor: `python -I -S tether.py SUPERVISOR_PID PROGRAM ARGUMENT…`.

Asks Linux to kill this process when its parent dies (prctl(2), PR_SET_PDEATHSIG: survives execve of a program without
set-uid), then becomes the program. So nothing outlives a supervisor, not even one that was killed with -9. Runs between
fork and exec of each program, in its own process, because running Python there inside the supervisor is not safe.
On other systems it only becomes the program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Entry point."""
    supervisor_pid, program, *arguments = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(supervisor_pid):  # it died before the request
            sys.exit(1)
    try:
        os.execv(program, [program, *arguments])  # noqa: S606 - to become the program is what this is for
    except OSError as error:
        sys.exit(f"{program}: {error.strerror}")


if __name__ == "__main__":
    main()
