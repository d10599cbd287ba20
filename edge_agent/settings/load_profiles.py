"""Reads device profiles (shell): those shipped in the package, and those of a folder of the operator's own."""

from __future__ import annotations

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from contracts.errors import ConfigurationError, Fault
from edge_agent.settings.profile import AnyProfile, parse_profile


def load_profiles(own_folder: Path | None = None) -> dict[str, AnyProfile]:
    """All profiles by name (the file's name without `.toml`).

    Args:
        own_folder: further profiles; one with a shipped profile's name takes its place.

    Raises:
        ConfigurationError: a profile is faulty, or the folder cannot be read.
    """
    profiles = _read_folder(resources.files("edge_agent") / "profiles")
    if own_folder is not None:
        try:
            profiles |= _read_folder(own_folder)
        except (OSError, UnicodeDecodeError) as error:
            fault = Fault("$.gateway.profile_folder", f"cannot be read: {error}")
            raise ConfigurationError(str(own_folder), [fault]) from error
    return profiles


def _read_folder(folder: Path | Traversable) -> dict[str, AnyProfile]:
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=lambda one: one.name)
    return {one.name.removesuffix(".toml"): parse_profile(one.read_text(encoding="utf-8"), str(one)) for one in files}
