"""Reads the device profiles that are shipped in the package (shell)."""

from __future__ import annotations

from importlib import resources

from edge_agent.profile import ModbusProfile, SerialFrameProfile, parse_profile


def load_profiles() -> dict[str, ModbusProfile | SerialFrameProfile]:
    """All shipped profiles by name. Raises ConfigurationError if one of them is faulty."""
    folder = resources.files("edge_agent") / "profiles"
    files = sorted((one for one in folder.iterdir() if one.name.endswith(".toml")), key=lambda one: one.name)
    return {one.name.removesuffix(".toml"): parse_profile(one.read_text(encoding="utf-8"), one.name) for one in files}
