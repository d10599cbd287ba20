"""Device profiles: what an instrument measures and where, as data files with their source.

Two protocols: `modbus` (register_profile.py) and `serial_frame` (frame_profile.py).
"""

from __future__ import annotations

import tomllib
from typing import Annotated

from pydantic import Field

from contracts.configuration import Settings, check_settings
from contracts.errors import ConfigurationError, Fault
from edge_agent.frames.frame_profile import FrameChannel, SerialFrameProfile
from edge_agent.modbus.register_profile import (
    Address,
    FunctionCode,
    HeartbeatRegister,
    ModbusProfile,
    RegisterChannel,
    Repeat,
    StateRegister,
    ValueMatch,
)
from edge_agent.settings.profile_head import REASON_NAMES, Bounds, CalibrationKind
from edge_agent.settings.state_rule import StateRule

__all__ = [
    "REASON_NAMES",
    "Address",
    "Bounds",
    "CalibrationKind",
    "FrameChannel",
    "FunctionCode",
    "HeartbeatRegister",
    "ModbusProfile",
    "Profile",
    "RegisterChannel",
    "Repeat",
    "SerialFrameProfile",
    "StateRegister",
    "StateRule",
    "ValueMatch",
    "parse_profile",
]

Profile = Annotated[ModbusProfile | SerialFrameProfile, Field(discriminator="protocol")]


class _ProfileFile(Settings):
    profile: Profile


def parse_profile(text: str, source: str) -> ModbusProfile | SerialFrameProfile:
    """Parses a profile file. Raises ConfigurationError with every fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    return check_settings(_ProfileFile, {"profile": document}, source).profile
