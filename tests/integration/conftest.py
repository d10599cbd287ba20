"""A real headless Chromium, for every test that looks at a page."""

import pytest

from tests.browser import open_browser


@pytest.fixture
def browser(tmp_path):
    with open_browser(tmp_path / "profile") as browser:
        yield browser
