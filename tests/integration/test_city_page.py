"""The whole city on the page: from a register of a simulated device to what the duty officer sees and does.

One `citysense run` and one real Chromium for all of it. Each device fault is ordered at the simulator, and must show
on the page and in the store as what it is, with its own reason and never with an old value as if it were new.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By

from tests.browser import sign_in
from tests.running_city import RunningCity, city, stop

pytestmark = [pytest.mark.needs_chromium, pytest.mark.timeout(300)]

SEEN_WITHIN_S = 30.0
LEAKING = "gas-quayside-07"
FAULTS = (
    # kind, node, quantity, the reason's wire name
    ("no_answer", "gas-pier-01", "methane_lel", "no_answer"),
    ("modbus_exception", "tank-east-02", "level", "modbus_device_failure"),
    ("crc_error", "temp-heron-1", "temperature", "crc_error"),
    ("out_of_range", "gas-pier-02", "methane_lel", "out_of_range"),
    ("warm_up", "gas-pier-04", "methane_lel", "warm_up"),
)


def order(running: RunningCity, *words: str) -> dict[str, object]:
    """An order to the running simulator."""
    verb, *rest = words
    command = [sys.executable, "-m", "simulators.cli", verb, "--control", str(running.root / "demo/field.sock"), *rest]
    answer: dict[str, object] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return answer


def ask(running: RunningCity, path: str) -> dict[str, object]:
    """A question to the stream processor's read API."""
    found = re.search(r"(http://127\.0\.0\.1:\d+)/v1/health", running.text)
    assert found, running.text
    token = (running.root / "secrets/viewer.token").read_text()
    request = urllib.request.Request(found.group(1) + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        body: dict[str, object] = json.load(answer)
    return body


def channel_ids(running: RunningCity) -> dict[str, int]:
    """`node/quantity` → channel_id, from the snapshot that the processor keeps."""
    fleet = json.loads((running.root / "data/store/fleet.json").read_text())
    return {f"{row['node_id']}/{row['quantity']}": row["channel_id"] for row in fleet["channels"]}


class Page:
    """What a person sees."""

    def __init__(self, browser, running: RunningCity) -> None:
        self.browser = browser
        self.running = running

    def find(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def see(self, selector: str, within_s: float = SEEN_WITHIN_S):
        deadline_s = time.monotonic() + within_s
        while True:
            with contextlib.suppress(StaleElementReferenceException):
                shown = [one for one in self.browser.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
                if shown:
                    return shown[0]
            late = f"not on the page within {within_s} s: {selector}\n{self.running.logs()}"
            assert time.monotonic() < deadline_s, late

    def search(self, text: str) -> None:
        box = self.find("input[type=search]")
        box.clear()
        box.send_keys(text)

    def keep_picture(self, name: str) -> None:
        if folder := os.environ.get("CITYSENSE_SCREENSHOTS"):
            self.browser.save_screenshot(str(Path(folder) / f"{name}.png"))


@pytest.fixture
def running(tmp_path):
    with city(tmp_path / "run") as running:
        running.wait_until("both gateways online", lambda: "all 2 gateways are online" in running.text)
        yield running
        stop(running)


def test_a_gas_leak_becomes_an_alarm_on_the_page_and_every_fault_shows_its_own_reason(running, browser):
    page = Page(browser, running)
    sign_in(browser, running)
    page.see("#connection[data-connection=live]")

    # A leak at another detector than the scenario's: what crosses the set-point is on the page, and it is this one.
    leak = order(running, "leak", "--node", "gas-saltworks-02", "--rise", "4", "--hold", "20", "--fall", "4",
                 "--set-point", "10", "--set-point", "25")  # fmt: skip
    crossing_ns = leak["crossings"][1]["crossing_ns"]
    alarm = "[data-alarm-state=unacknowledged]"
    row = next_row(page, alarm, "gas-saltworks-02")
    delay_s = (time.time_ns() - crossing_ns) / 1e9
    print(f"first of the two alarms on the page {delay_s:+.2f} s after 25 %LEL was crossed")
    assert delay_s < 5.0, "generous: the promise (1 s) is measured by make bench"
    page.keep_picture("city-alarm")

    alarm_id = row.get_attribute("data-alarm-id")
    row.find_element(By.CSS_SELECTOR, "[data-action=acknowledge]").click()
    page.see(f'[data-alarm-id="{alarm_id}"][data-alarm-state=acknowledged]')
    assert "operator" in page.see(f'[data-alarm-id="{alarm_id}"]').text

    for kind, node, _, _ in FAULTS:
        more = ["--value", "140"] if kind == "out_of_range" else []
        order(running, "fault", "--node", node, "--kind", kind, "--for", "120", *more)
    ids = channel_ids(running)
    for _, node, quantity, reason in FAULTS:
        page.search(node)
        cell = page.see(f'[data-channel="{node}/{quantity}"][data-level=bad][data-reason={reason}]')
        assert_no_old_value_as_new(cell, reason)
        page.keep_picture(f"city-{reason}")
        assert_stored_as_bad(running, ids[f"{node}/{quantity}"])
    reasons = {row["reason"] for row in ask(running, "/v1/latest")["channels"]}
    assert reasons >= {reason for *_, reason in FAULTS}

    page.search("gas-saltworks-02")
    page.see('[data-channel="gas-saltworks-02/methane_lel"]').click()
    page.see("#chart[data-drawn=yes]")
    page.keep_picture("city-trend")

    order(running, "clear", "gas-pier-01")
    page.search("gas-pier-01")
    page.see('[data-channel="gas-pier-01/methane_lel"][data-level=good]')

    # The leak is over: the acknowledged alarm leaves the page.
    wait_until_gone(page, f'[data-alarm-id="{alarm_id}"]')
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert severe == []


def next_row(page: Page, selector: str, text: str):
    deadline_s = time.monotonic() + SEEN_WITHIN_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(StaleElementReferenceException):
            for row in page.browser.find_elements(By.CSS_SELECTOR, selector):
                if text in row.text:
                    return row
        time.sleep(0.02)
    raise AssertionError(f"no {selector} with {text!r} on the page\n{page.running.logs()}")


def assert_no_old_value_as_new(cell, reason: str) -> None:
    now = cell.find_element(By.CSS_SELECTOR, ".now").text
    assert not re.search(r"\d", now), f"{reason}: the page shows {now!r} as the current value"


def assert_stored_as_bad(running: RunningCity, channel_id: int) -> None:
    until_ns = time.time_ns()
    query = f"/v1/channels/{channel_id}/trend?from_ns={until_ns - 60 * 10**9}&to_ns={until_ns}&buckets=60"
    trend = ask(running, query)
    assert sum(trend["bad_count"]) >= 1
    assert sum(trend["observation_count"]) > sum(trend["bad_count"]), "it was good before the fault"


def wait_until_gone(page: Page, selector: str) -> None:
    deadline_s = time.monotonic() + 60.0
    while page.browser.find_elements(By.CSS_SELECTOR, selector):
        assert time.monotonic() < deadline_s, f"still on the page: {selector}"
        time.sleep(0.2)
