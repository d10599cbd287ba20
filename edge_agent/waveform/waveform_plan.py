"""What the running agent must know of a logger that keeps waveforms. Plain data: made by `waveform_profile`. Pure.

A logger writes samples into a *ring* of registers and counts them:

    sample k of a channel stands at   area.address + (k mod ring_samples) × registers_per_sample + field.offset

for the newest `ring_samples` samples k. A logger that shows one finished block at a time is a ring of one block whose
counter counts blocks (`samples_per_count` = the block).
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts.quantity import cycle_quantity
from contracts.waveform import SUFFIX
from edge_agent.lines.report_filter import ReportRule
from edge_agent.modbus.register_field import Field, RegisterType, WordOrder
from edge_agent.waveform.window_features import feature_quantity


@dataclass(frozen=True, slots=True)
class CounterPlan:
    """The register that counts."""

    field: Field
    modulus: int
    """After the greatest count comes 0."""
    samples_per_count: int
    """1: it counts samples; else blocks of so many."""


@dataclass(frozen=True, slots=True)
class SampleField:
    """One channel's number in a sample."""

    channel_at: int
    """Which of the device's channels."""
    offset: int
    """Registers from the beginning of the sample."""
    register_type: RegisterType
    word_order: WordOrder


@dataclass(frozen=True, slots=True)
class AreaPlan:
    """A ring of registers: of one channel, or of all of them side by side."""

    function_code: int
    address: int
    registers_per_sample: int
    fields: tuple[SampleField, ...]


@dataclass(frozen=True, slots=True)
class WaveformChannelPlan:
    """A sampled channel and what is made of it."""

    node_id: str
    quantity: str
    scale: float
    """value = scale × raw + offset."""
    offset: float
    low: float
    """Samples outside of low..high are `out_of_range`, and so is what is computed from them."""
    high: float
    sends_samples: bool
    features: tuple[str, ...]
    """Of `window_features.FEATURES`, without the cycles."""
    cycle_bin_width: float
    """Of the rainflow count, in the quantity's unit; 0: none."""
    cycle_bins: int


@dataclass(frozen=True, slots=True)
class WaveformDevicePlan:
    """A logger."""

    name: str
    device_id: int
    interval_s: float
    sample_rate_hz: float
    ring_samples: int
    max_registers: int
    counter: CounterPlan
    areas: tuple[AreaPlan, ...]
    waveforms: tuple[WaveformChannelPlan, ...]
    bad_repeat_s: float
    stale_after_s: float
    report: tuple[tuple[str, ReportRule], ...]
    """By quantity; what is always reported stands not in it."""

    def channel_names(self) -> list[tuple[str, str]]:
        """(node_id, quantity) of all readings, in the order of the sampled channels."""
        return [(one.node_id, quantity) for one in self.waveforms for quantity in quantities_of(one)]

    def waveform_names(self) -> list[tuple[str, str]]:
        """(node_id, quantity/waveform) of the sampled channels, by which their blocks are sent."""
        return [(one.node_id, f"{one.quantity}{SUFFIX}") for one in self.waveforms]

    def reports(self) -> list[ReportRule | None]:
        """When each of its channels is worth sending; None: always."""
        rules = dict(self.report)
        return [rules.get(quantity) for _, quantity in self.channel_names()]

    def bad_repeats_s(self) -> list[float]:
        """How often each of its channels repeats that it is bad."""
        return [self.bad_repeat_s] * len(self.channel_names())


def quantities_of(plan: WaveformChannelPlan) -> list[str]:
    """The quantities of the readings that a sampled channel gives: features, then the bins of the rainflow count."""
    named = [feature_quantity(plan.quantity, feature) for feature in plan.features]
    bins = plan.cycle_bins if plan.cycle_bin_width else 0
    return named + [cycle_quantity(plan.quantity, number) for number in range(1, bins + 1)]
