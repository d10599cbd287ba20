"""A real headless Chromium, for every test that looks at a page."""

import os
import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,1000",
    "--lang=en", "--no-proxy-server",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path):
    driver = shutil.which("chromedriver")
    chromium = shutil.which("chromium")
    assert driver, "install chromium-driver (apt), or leave the tests marked needs_chromium out"
    assert chromium, "install chromium (apt), or leave the tests marked needs_chromium out"
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"intl.accept_languages": "en"})
    made = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    made.set_page_load_timeout(20)
    scheme = os.environ.get("CITYSENSE_SCREENSHOT_SCHEME", "dark")
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    made.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    yield made
    made.quit()
