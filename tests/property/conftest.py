"""How hypothesis runs here: no deadline per example, since two cores are shared with servers and other tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("citysense", deadline=None, print_blob=True)
settings.load_profile("citysense")
