"""The error tree of `edge_agent`.

AgentError
├── LineLostError        the port cannot be opened, or the connection is gone; transient: open it again
├── SpoolWriteError      a commit failed (disk full, fsync error, locked); transient: try again
└── SpoolUnusableError   the file is no spool of ours, or is corrupt; permanent: a person must look
"""

from __future__ import annotations


class AgentError(Exception):
    """Root of all errors that `edge_agent` raises."""


class LineLostError(AgentError):
    """The line to the devices cannot be used now. Transient."""


class SpoolWriteError(AgentError):
    """The spool could not be written now. Transient: nothing of the transaction is in the file."""


class SpoolUnusableError(AgentError):
    """The file cannot be a spool. Permanent."""
