"""The error tree of `edge_agent`.

AgentError
├── PlanningError        the process that plans a configuration was killed or failed; transient: ask again
├── LineLostError        the port cannot be opened, or the connection is gone; transient: open it again
├── CredentialError      a certificate, key or password file cannot be used; transient: read again at each connect
├── SpoolWriteError      the spool could not be written (locked, no file at all just now); transient: try again
│   └── SpoolFullError   … for want of room; transient: room is being made
├── SpoolBrokenError     the file is corrupt, or an I/O error has cost its trust; it is set aside, a new one is begun
├── SpoolOutdatedError   an older agent wrote the file; it is set aside, and what it holds is taken over
└── SpoolUnusableError   the file is a database of somebody else; permanent: a person must look
"""

from __future__ import annotations


class AgentError(Exception):
    """Root of all errors that `edge_agent` raises."""


class PlanningError(AgentError):
    """A configuration could not be planned, by no fault of its own. Transient: there may be memory the next time."""


class LineLostError(AgentError):
    """The line to the devices cannot be used now. Transient."""


class CredentialError(AgentError):
    """A certificate, key or password file cannot be used. Transient: a person or an enrolment client may replace it."""


class SpoolWriteError(AgentError):
    """The spool could not be written now. Transient: nothing of the transaction is in the file."""


class SpoolFullError(SpoolWriteError):
    """There was no room, in the spool's share of the disk or on the disk. Transient."""


class SpoolBrokenError(AgentError):
    """The file is not to be trusted (any more). Another file has to take its place."""


class SpoolOutdatedError(AgentError):
    """The file has the layout of an older agent."""


class SpoolUnusableError(AgentError):
    """The file is not ours to touch. Permanent."""
