"""Sensor to alarm: from the true crossing of a set-point at the sensor to the alarm in the alarm service.

The whole city runs (`citysense run`). Gas leaks are ordered one after another at different detectors; the simulator
says when each truly crosses 10 and 25 %LEL; the alarm service says when it took the alarm in, and a waiting long poll
when it was told. Polling (0.5 s), the agent's flush (0.2 s) and the commit (0.05 s) of the demonstration are in the
figure.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np

from tests.running_city import RunningCity, city, stop

LEAKS = 40
LEAK_INTERVAL_S = 1.3
RISE_S = 6.0
SET_POINTS = (10.0, 25.0)


def measure() -> Iterator[str]:
    """Yields the lines of the report."""
    with tempfile.TemporaryDirectory() as folder, city(Path(folder) / "run") as running:
        running.wait_until("both gateways online", lambda: "gateways are online" in running.text)
        time.sleep(5.0)
        told: dict[str, int] = {}
        raised: dict[str, int] = {}
        stopping = threading.Event()
        listener = threading.Thread(target=_listen, args=(running, told, raised, stopping))
        listener.start()
        crossings = dict(_leak_one_after_another(running))
        time.sleep(RISE_S + 4.0)
        stopping.set()
        listener.join()
        stop(running)
    for name, times in (("raised in the alarm service", raised), ("told to a waiting long poll", told)):
        delays_ms = [(times[key] - crossing) / 1e6 for key, crossing in crossings.items() if key in times]
        p50, p99 = np.percentile(delays_ms, [50, 99])
        yield (
            f"  {name:<28} p50 {p50:5.0f} ms   p99 {p99:5.0f} ms   largest {max(delays_ms):5.0f} ms"
            f"   ({len(delays_ms)} of {len(crossings)} alarms)"
        )


def _leak_one_after_another(running: RunningCity) -> Iterator[tuple[str, int]]:
    fleet = (running.root / "demo/fleet.toml").read_text()
    detectors = [name for name in re.findall(r'node_id = "(gas-[^"]+)"', fleet) if name != "gas-quayside-07"]
    for node in detectors[:LEAKS]:
        order = [sys.executable, "-m", "simulators.cli", "leak", "--control", str(running.root / "demo/field.sock")]
        order += ["--node", node, "--peak", "45", "--rise", str(RISE_S), "--hold", "60"]
        order += [word for point in SET_POINTS for word in ("--set-point", str(point))]
        answer = json.loads(subprocess.run(order, check=True, capture_output=True, text=True).stdout)
        for crossing in answer["crossings"]:
            yield f"{node}.methane-{crossing['set_point']:g}", int(crossing["crossing_ns"])
        time.sleep(LEAK_INTERVAL_S)


def _listen(running: RunningCity, told: dict[str, int], raised: dict[str, int], stopping: threading.Event) -> None:
    found = re.search(r"alarm-service\s+\d+\s+(http://\S+)", running.text)
    assert found, running.text
    token = (running.root / "secrets/viewer.token").read_text()
    revision = 0
    with httpx.Client(base_url=found.group(1), headers={"Authorization": f"Bearer {token}"}, timeout=10.0) as client:
        while not stopping.is_set():
            page = client.get("/v1/alarms", params={"changed_after": revision, "wait_s": 2}).json()
            now_ns = time.time_ns()
            revision = page["revision"]
            for alarm in page["alarms"]:
                told.setdefault(alarm["condition_id"], now_ns)
                raised.setdefault(alarm["condition_id"], alarm["raised_ns"])


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
