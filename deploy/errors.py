"""The error tree of `deploy`.

DeployError
├── BuildError             a server could not be fetched or built; permanent until a person has read why
├── DirectoryInUseError    another `citysense run` has the directory; permanent until that one stops
├── MissingToolsError      tools that a server needs are not installed; permanent until they are
└── StartError             a program did not start; permanent until a person has read why
"""

from __future__ import annotations


class DeployError(Exception):
    """Root of all errors that `deploy` raises."""


class DirectoryInUseError(DeployError):
    """Another supervisor holds the run directory."""

    def __init__(self, directory: str, pid: str) -> None:
        self.directory = directory
        self.pid = pid
        super().__init__(directory, pid)

    def __str__(self) -> str:
        return (
            f"{self.directory} is in use by the supervisor with pid {self.pid}: "
            "stop that one first (Ctrl-C there), or run in another directory (--dir)"
        )


class BuildError(DeployError):
    """A server that could not be fetched or built."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(name, reason)

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


class MissingToolsError(DeployError):
    """Tools that are not installed, one line for each server that needs them."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self.lines = lines
        super().__init__(lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


class StartError(DeployError):
    """A program that did not become ready."""

    def __init__(self, name: str, reason: str, log_path: str, log_tail: str) -> None:
        self.name = name
        self.reason = reason
        self.log_path = log_path
        self.log_tail = log_tail
        super().__init__(name, reason, log_path, log_tail)

    def __str__(self) -> str:
        if not self.log_tail.strip():
            return f"{self.name} {self.reason}. Its log is empty ({self.log_path})."
        indented = "\n".join(f"    {line}" for line in self.log_tail.splitlines())
        return f"{self.name} {self.reason}. The end of its log ({self.log_path}):\n{indented}"
