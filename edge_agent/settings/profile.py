"""Device profiles: what an instrument measures and where, as data files with their source.

Three protocols: `modbus` (register_profile.py), `modbus_waveform` (waveform_profile.py) and `serial_frame`
(frame_profile.py).
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
from edge_agent.settings.profile_head import Bounds, CalibrationKind
from edge_agent.settings.reason_name import REASON_NAMES
from edge_agent.settings.state_rule import StateRule
from edge_agent.waveform.waveform_profile import WaveformProfile

__all__ = [
    "REASON_NAMES",
    "Address",
    "AnyProfile",
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
    "WaveformProfile",
    "parse_profile",
]

AnyProfile = ModbusProfile | SerialFrameProfile | WaveformProfile
Profile = Annotated[AnyProfile, Field(discriminator="protocol")]


class _ProfileFile(Settings):
    profile: Profile


def parse_profile(text: str, source: str) -> AnyProfile:
    """Parses a profile file. Raises ConfigurationError with every fault."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(source, [Fault("$", f"not TOML: {error}")]) from error
    return check_settings(_ProfileFile, {"profile": document}, source).profile
