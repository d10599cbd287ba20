"""Start and stop of the whole city: `citysense run` until its console answers, Ctrl-C until nothing is left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.running_city import city, stop


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory() as folder:
        for run in ("first run, empty directory", "second run, same directory"):
            began_s = time.monotonic()
            with city(Path(folder) / "run") as running:
                running.wait_until_announced()
                up_s = time.monotonic() - began_s
                running.wait_until("gateways online", lambda said=running: "gateways are online" in said.text)
                online_s = time.monotonic() - began_s
                time.sleep(3.0)
                began_s = time.monotonic()
                stop(running)
                down_s = time.monotonic() - began_s
            yield f"  {run:<28} page up {up_s:4.1f} s   gateways online {online_s:4.1f} s   stopped {down_s:4.1f} s"


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
