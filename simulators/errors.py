"""The error tree of `simulators`.

SimulatorError             root
├── FrameError             bytes on a connection that cannot be this protocol; the connection is closed
├── OrderError             a fault or a leak that was ordered and that this field cannot show; permanent
├── SpoolError             an agent's spool that the ledger cannot attach to
├── LoadError              a load that cannot be made as asked, or a ledger that is none
└── WireError              octets that are no Sparkplug payload
"""

from __future__ import annotations


class SimulatorError(Exception):
    """Root of all errors that `simulators` raises."""


class FrameError(SimulatorError):
    """Bytes that cannot be a request. There is no way back into step on this connection."""


class OrderError(SimulatorError):
    """An order that cannot be carried out: unknown node, or a fault that the instrument has no way to show."""


class SpoolError(SimulatorError):
    """A spool file that is not there, or that has no table `reading`."""


class LoadError(SimulatorError):
    """A fleet or a rate that cannot be made, a ledger that is not there, a store that cannot be read. Permanent."""


class WireError(SimulatorError):
    """Octets that are no protocol-buffer message of Sparkplug."""
