"""Sensor to alarm: from the true crossing of a set-point at the sensor to the alarm in the alarm service.

The whole city runs (`citysense run`). Gas leaks are ordered one after another at different detectors; the simulator
says when each truly crosses 10 and 25 %LEL; the alarm service says when it took the alarm in, and a waiting long poll
when it was told. Polling (0.3 s), the agent's flush (0.2 s) and the commit (0.05 s) of the demonstration are in the
figure.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
from selenium import webdriver

from tests.browser import open_browser, sign_in
from tests.running_city import RunningCity, city, stop

_NOTE_ALARMS = """
    window.alarmsShown = {};
    const note = () => document.querySelectorAll('[data-alarm-id]').forEach(alarm => {
        window.alarmsShown[alarm.dataset.alarmId] ??= Date.now();
    });
    new MutationObserver(note).observe(document.body, {childList: true, subtree: true, attributes: true});
"""

LEAKS = 40
LEAK_INTERVAL_S = 1.3
RISE_S = 6.0
SET_POINTS = (10.0, 25.0)


def measure() -> Iterator[str]:
    """Yields the lines of the report, of the embedded engine."""
    yield from _measure()


def measure_on_stack() -> Iterator[str]:
    """The same of the city on Mosquitto, Kafka, InfluxDB and PostgreSQL (`make run-stack`)."""
    yield from _measure("--stack")


def _measure(*arguments: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's own user must be able to enter
        with city(Path(folder) / "run", *arguments) as running:
            yield from _measure_city(running)


def _measure_city(running: RunningCity) -> Iterator[str]:
    running.wait_until("both gateways online", lambda: "gateways are online" in running.text, 120.0)
    time.sleep(5.0)
    raised: dict[str, int] = {}
    condition_of_alarm: dict[str, str] = {}
    stopping = threading.Event()
    listener = threading.Thread(target=_listen, args=(running, raised, condition_of_alarm, stopping))
    listener.start()
    with _page(running) as browser:
        crossings = dict(_leak_one_after_another(running))
        time.sleep(RISE_S + 4.0)
        shown_ms = browser.execute_script("return window.alarmsShown") if browser else {}
    stopping.set()
    listener.join()
    stop(running)
    shown = {condition_of_alarm[alarm]: time_ms * 1_000_000 for alarm, time_ms in shown_ms.items()}
    yield from _report(crossings, {"raised in the alarm service": raised, "on the page (Chromium's DOM)": shown})


def _report(crossings: dict[str, int], stages: dict[str, dict[str, int]]) -> Iterator[str]:
    for name, times in stages.items():
        if not times:
            yield f"  {name:<28} not measured: chromium or its driver is not installed"
            continue
        delays_ms = [(times[key] - crossing) / 1e6 for key, crossing in crossings.items() if key in times]
        p50, p99 = np.percentile(delays_ms, [50, 99])
        yield (
            f"  {name:<28} p50 {p50:5.0f} ms   p99 {p99:5.0f} ms   largest {max(delays_ms):5.0f} ms"
            f"   ({len(delays_ms)} of {len(crossings)} alarms)"
        )


def _leak_one_after_another(running: RunningCity) -> Iterator[tuple[str, int]]:
    field = tomllib.loads((running.root / "demo/field.toml").read_text())
    # Those of the scenario have a life of their own: a detector in warm-up, for example, raises nothing.
    taken = {happening.get("node") for happening in (*field["event"], *field["fault"])}
    nodes = [node["node_id"] for bus in field["bus"] for node in bus["node"]]
    detectors = [name for name in nodes if name.startswith("gas-") and name not in taken]
    for node in detectors[:LEAKS]:
        order = [sys.executable, "-m", "simulators.cli", "leak", "--control", str(running.root / "demo/field.sock")]
        order += ["--node", node, "--peak", "45", "--rise", str(RISE_S), "--hold", "60"]
        order += [word for point in SET_POINTS for word in ("--set-point", str(point))]
        answer = json.loads(subprocess.run(order, check=True, capture_output=True, text=True).stdout)
        for crossing in answer["crossings"]:
            yield f"{node}.methane-{crossing['set_point']:g}", int(crossing["crossing_ns"])
        time.sleep(LEAK_INTERVAL_S)


@contextlib.contextmanager
def _page(running: RunningCity) -> Iterator[webdriver.Chrome | None]:
    """The console in a browser that notes when each alarm came into the page; None where there is no browser."""
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        yield None
        return
    with tempfile.TemporaryDirectory() as profile, open_browser(Path(profile)) as browser:
        sign_in(browser, running)
        browser.execute_script(_NOTE_ALARMS)
        yield browser


def _listen(
    running: RunningCity, raised: dict[str, int], condition_of_alarm: dict[str, str], stopping: threading.Event
) -> None:
    found = re.search(r"alarm-service\s+\d+\s+(http://\S+)", running.text)
    assert found, running.text
    token = (running.root / "secrets/viewer.token").read_text()
    revision = 0
    with httpx.Client(base_url=found.group(1), headers={"Authorization": f"Bearer {token}"}, timeout=10.0) as client:
        while not stopping.is_set():
            page = client.get("/v1/alarms", params={"changed_after": revision, "wait_s": 2}).json()
            revision = page["revision"]
            for alarm in page["alarms"]:
                condition_of_alarm[str(alarm["alarm_id"])] = alarm["condition_id"]
                raised.setdefault(alarm["condition_id"], alarm["raised_ns"])


if __name__ == "__main__":
    for line in measure():
        print(line, flush=True)
