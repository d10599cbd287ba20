"""How many samples a logger has written, from a register that counts them and wraps. Pure.

A count that went back, or forward by more than time allows, is a logger that was started again. After a silence of
more than one turn of the register, the clock says how many turns went by. Where a turn is no multiple of the ring,
nobody can say where the ring goes on after it: then a turn counts as a start.
"""

from __future__ import annotations

from typing import Final

HASTE: Final = 1.5
"""A logger whose clock is faster than ours by more than half counts something else."""
SLACK_S: Final = 2.0
"""So much time's worth of samples may come at once: a poll that was late, a block that was just finished."""


class SampleCounter:
    """Numbers samples from 0 at the first look on, whatever the register holds."""

    def __init__(self, modulus: int, samples_per_count: int, sample_rate_hz: float, ring_samples: int = 1) -> None:
        self._modulus = modulus
        self._turns_fit = modulus * samples_per_count % ring_samples == 0
        self._samples_per_count = samples_per_count
        self._counts_per_s = sample_rate_hz / samples_per_count
        self._register: int | None = None
        self._seen_s = 0.0
        self.written = 0
        """Samples written so far: the newest is number `written` - 1."""
        self.phase = 0
        """Where sample 0 stands in the ring: (number + phase) mod ring_samples is the place of a sample."""

    def take(self, register: int, now_s: float) -> bool:
        """Takes what the register holds now.

        Args:
            register: what was read.
            now_s: monotonic clock.

        Returns:
            Whether the count went on; False: it begins anew (the first look, or the logger was started again).
        """
        before, elapsed_s = self._register, now_s - self._seen_s
        self._register, self._seen_s = register, now_s
        if before is None:
            return self._begin(register)
        counts = (register - before) % self._modulus
        expected = elapsed_s * self._counts_per_s
        counts += max(0, round((expected - counts) / self._modulus)) * self._modulus
        has_turned = before + counts >= self._modulus
        if has_turned and not self._turns_fit:
            return self._begin(register)
        if counts > HASTE * expected + max(2.0, SLACK_S * self._counts_per_s):
            return self._begin(register)
        self.written += counts * self._samples_per_count
        return True

    def _begin(self, register: int) -> bool:
        """Numbers go on, so that none is used twice; the ring's places are those of the new count."""
        self.phase = register * self._samples_per_count - self.written
        return False
