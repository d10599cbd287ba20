"""The error tree of `console`.

ConsoleError
├── StartError                 the program cannot start as it is configured; waiting does not help
└── UpstreamError              a service of ours gave no usable answer; `service` and `fault` say which and why
    ├── UpstreamDownError      transient: no connection, a timeout, or a 5xx status; ask again
    └── UpstreamRefusalError   permanent: a 4xx status or an answer that is not of the contract; `status` if any
"""

from __future__ import annotations


class ConsoleError(Exception):
    """Root of all errors that `console` raises."""


class StartError(ConsoleError):
    """The program cannot start: a file is missing or unreadable, or the address is taken."""


class UpstreamError(ConsoleError):
    """A service that the console asks gave no usable answer."""

    def __init__(self, service: str, fault: str) -> None:
        self.service = service
        self.fault = fault
        super().__init__(service, fault)

    def __str__(self) -> str:
        return f"{self.service}: {self.fault}"


class UpstreamDownError(UpstreamError):
    """Transient: asking again can help."""


class UpstreamRefusalError(UpstreamError):
    """Permanent: the service understood and refused, or its answer is not of the contract."""

    def __init__(self, service: str, fault: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(service, fault)
