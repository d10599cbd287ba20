"""How many failed sign-ins an address may make: 10 in 5 minutes, then it waits until the oldest is forgotten.

The passwords cannot be guessed anyway; this keeps the log readable and the store idle. It counts by address, never
by user name: nobody can lock a duty officer out by failing in their name. Pure: the caller tells the time.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from contracts.observation import NANOSECONDS_PER_SECOND

FAILURES_MAX: Final = 10
WINDOW_NS: Final = 300 * NANOSECONDS_PER_SECOND
ADDRESSES_MAX: Final = 10_000
"""Memory is bounded: beyond, the address that failed longest ago is forgotten."""


class SignInThrottle:
    """Failed sign-ins by address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()

    def wait_s(self, address: str, now_ns: int) -> int:
        """Whole seconds that the address must wait before its next try; 0 if it may try now."""
        failures = self._failures.get(address)
        if failures is None:
            return 0
        while failures and failures[0] + WINDOW_NS <= now_ns:
            failures.popleft()
        if len(failures) < FAILURES_MAX:
            return 0
        return -(-(failures[0] + WINDOW_NS - now_ns) // NANOSECONDS_PER_SECOND)

    def note_failure(self, address: str, now_ns: int) -> None:
        """Counts a failure."""
        self._failures.setdefault(address, deque(maxlen=FAILURES_MAX)).append(now_ns)
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)

    def note_success(self, address: str) -> None:
        """Forgets the failures of an address that signed in."""
        self._failures.pop(address, None)
