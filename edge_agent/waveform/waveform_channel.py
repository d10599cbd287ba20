"""One sampled channel: samples with times → blocks of a second, and the readings of each second. Pure.

A second ends when a sample of a later one comes. Samples that are missing in it (lost by the logger, or before the
first that was read) make its features `incomplete`; a sample outside of the range makes them and its block
`out_of_range`; a clock that was set makes them `clock_suspect`.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from contracts.observation import NANOSECONDS_PER_MILLISECOND, NANOSECONDS_PER_SECOND
from contracts.quality import Reason
from edge_agent.channel_table import Reading
from edge_agent.waveform.cycle_counter import CycleCounter
from edge_agent.waveform.waveform_block import WaveformBlock
from edge_agent.waveform.waveform_plan import WaveformChannelPlan
from edge_agent.waveform.window_features import FEATURES, moments_of

_NEVER: Final = -(1 << 62)


class WaveformChannel:
    """What has come of the second that is under way."""

    def __init__(
        self, plan: WaveformChannelPlan, sample_rate_hz: float, alias: int, feature_aliases: Sequence[int]
    ) -> None:
        """Has seen nothing.

        Args:
            plan: what is made of it.
            sample_rate_hz: nominal.
            alias: of the waveform's metric.
            feature_aliases: of its readings, in the order of `waveform_plan.quantities_of`.
        """
        self._plan = plan
        self._rate_hz = sample_rate_hz
        self._alias = alias
        self._features = list(zip(plan.features, feature_aliases, strict=False))
        self._bins = list(feature_aliases[len(plan.features) :])
        self._cycles = CycleCounter(plan.cycle_bin_width, len(self._bins)) if self._bins else None
        self._second = _NEVER
        self._runs: list[tuple[int, array[float]]] = []
        """Time of the first sample, and samples that follow each other."""
        self._next_number = 0
        self._end_ns = _NEVER
        """When the next sample is due."""
        self._told_ns = _NEVER
        self._is_incomplete = self._is_suspect = False
        self._blocks: list[WaveformBlock] = []
        self._readings: list[Reading] = []

    def doubt_clock(self) -> None:
        """The clock was set: the second that is under way, and the next one, are `clock_suspect`."""
        self._close()
        self._is_suspect = True

    def interrupt(self) -> None:
        """The logger was started again: what comes does not follow what came."""
        self._next_number = -1

    def take(self, number: int, zero_ns: int, period_ns: Fraction, samples: array[float]) -> None:
        """Takes samples that follow each other.

        Args:
            number: of the first; a gap shows by it.
            zero_ns: when sample number 0 was taken, or would have been.
            period_ns: from one to the next.
            samples: in the channel's unit.
        """
        is_gap = number != self._next_number or not self._runs
        if is_gap and self._end_ns < (self._second + 1) * NANOSECONDS_PER_SECOND:
            self._is_incomplete = True
        self._next_number = number + len(samples)
        at = 0
        while at < len(samples):
            time_ns = zero_ns + int((number + at) * period_ns)
            second = time_ns // NANOSECONDS_PER_SECOND
            end_ns = (second + 1) * NANOSECONDS_PER_SECOND
            count = min(math.ceil((end_ns - zero_ns) / period_ns) - number, len(samples)) - at
            if second != self._second:
                self._close()
                self._second = second
            if is_gap and time_ns - period_ns >= second * NANOSECONDS_PER_SECOND:
                self._is_incomplete = True
            self._append(time_ns, samples[at : at + count], is_gap=is_gap)
            at += count
            is_gap = False
        self._end_ns = zero_ns + int(self._next_number * period_ns)

    def pop(self) -> tuple[list[WaveformBlock], list[Reading]]:
        """What is finished: blocks and readings, oldest first."""
        finished = self._blocks, self._readings
        self._blocks, self._readings = [], []
        return finished

    def _append(self, time_ns: int, samples: array[float], *, is_gap: bool) -> None:
        if self._runs and not is_gap:
            self._runs[-1][1].extend(samples)
        else:
            self._runs.append((time_ns, samples))

    def _close(self) -> None:
        """The second that was under way is over."""
        runs, self._runs = self._runs, []
        if runs:
            samples = [sample for _, run in runs for sample in run]
            reason = self._judge(samples)
            self._add_blocks(runs, reason)
            if self._is_incomplete and reason is Reason.OK:
                reason = Reason.INCOMPLETE
            self._add_readings(samples, reason)
            self._is_suspect = False
        self._is_incomplete = False

    def _judge(self, samples: Sequence[float]) -> Reason:
        is_within = all(self._plan.low <= sample <= self._plan.high for sample in (min(samples), max(samples)))
        if not is_within and any(not self._plan.low <= one <= self._plan.high for one in samples if one == one):  # noqa: PLR0124
            return Reason.OUT_OF_RANGE
        return Reason.CLOCK_SUSPECT if self._is_suspect else Reason.OK

    def _add_blocks(self, runs: Sequence[tuple[int, array[float]]], reason: Reason) -> None:
        if self._plan.sends_samples:
            self._blocks += [
                WaveformBlock(self._alias, first_ns, self._rate_hz, int(reason), samples) for first_ns, samples in runs
            ]

    def _add_readings(self, samples: Sequence[float], reason: Reason) -> None:
        """With the time of the second's beginning; never one that was told before."""
        begin_ns = self._second * NANOSECONDS_PER_SECOND
        self._told_ns = time_ns = max(begin_ns, self._told_ns + NANOSECONDS_PER_MILLISECOND)
        moments = moments_of(samples)
        for feature, alias in self._features:
            if moments is None:
                self._readings.append((alias, time_ns, None, int(Reason.NOT_A_NUMBER)))
            else:
                self._readings.append((alias, time_ns, FEATURES[feature](moments), int(reason)))
        if self._cycles is not None:
            self._cycles.take(samples)
            self._readings += [
                (alias, time_ns, count, int(reason))
                for alias, count in zip(self._bins, self._cycles.counts, strict=True)
            ]
