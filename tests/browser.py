"""A real headless Chromium, and how one signs in to the console of a running city."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.running_city import RunningCity

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
    "--lang=en", "--no-proxy-server",
)  # fmt: skip


@contextlib.contextmanager
def open_browser(profile: Path) -> Iterator[webdriver.Chrome]:
    """Starts the system's Chromium through its driver; selenium downloads nothing."""
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium")
    assert driver, "install chromium-driver (apt), or leave the tests marked needs_chromium out"
    assert chromium, "install chromium (apt), or leave the tests marked needs_chromium out"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"intl.accept_languages": "en"})
    made = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    made.set_page_load_timeout(20)
    scheme = os.environ.get("CITYSENSE_SCREENSHOT_SCHEME", "dark")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    made.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        yield made
    finally:
        made.quit()


def sign_in(browser: webdriver.Chrome, running: RunningCity) -> None:
    """As a newcomer does, with what `citysense run` printed."""
    address = running.wait_until_announced()
    found = re.search(r"^  user +(\S+)\n  password +(\S+) ", running.text, re.MULTILINE)
    assert found, running.text
    browser.get(address + "/")
    browser.find_element(By.CSS_SELECTOR, "input[name=name]").send_keys(found.group(1))
    browser.find_element(By.CSS_SELECTOR, "input[name=password]").send_keys(found.group(2))
    browser.find_element(By.CSS_SELECTOR, "#login button").click()
