"""One write to a Modbus server: what an actuator's value becomes, and what a driver carries. Pure.

Function codes: 5 write single coil · 6 write single register · 15 write multiple coils · 16 write
multiple registers (MODBUS Application Protocol V1.1b3, sections 6.5, 6.6, 6.11 and 6.12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WRITE_SINGLE_COIL: Final = 5
WRITE_SINGLE_REGISTER: Final = 6
WRITE_MULTIPLE_COILS: Final = 15
WRITE_MULTIPLE_REGISTERS: Final = 16


@dataclass(frozen=True, slots=True)
class ModbusWrite:
    """A request that changes something. The answer to it is `()`, or the `Reason` why it was not done."""

    device_id: int
    function_code: int
    """5, 6, 15 or 16."""
    address: int
    """Of the first coil or register as it goes over the wire, from 0."""
    values: tuple[int, ...]
    """Coils: 0 or 1 each; registers: 0 to 65535 each. Exactly one for function codes 5 and 6."""
