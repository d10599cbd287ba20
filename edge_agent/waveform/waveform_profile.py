"""Profiles of loggers that keep waveforms in registers, and what a node may set of them. Planning side only.

    protocol = "modbus_waveform"
    sample_rate_hz = 100.0            # a node with a logger that is set otherwise says so
    max_registers = 125
    counter = { function_code = 3, address = 0, type = "u32", samples_per_count = 1 }
    ring = { function_code = 3, samples = 1000, registers_per_sample = 3 }
    [[waveform]]
    quantity = "acceleration"
    address = 100
    type = "s16"
    calibration = { kind = "linear", scale = 0.000598 }

Sample k of a waveform stands at `address` + (k mod `samples`) × `registers_per_sample`, which is the width of its type
if each waveform has a ring of its own, and the width of a whole sample if all stand side by side. `samples_per_count` =
100 and `samples` = 100 is a logger that shows its last finished block of 100 samples and counts blocks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from contracts.configuration import Settings
from contracts.quantity import CYCLE_BINS_MAX, WAVEFORM_QUANTITIES, cycle_quantity
from edge_agent.lines.calibration import LinearCalibration
from edge_agent.modbus.register_field import MAX_REGISTERS, RegisterType, WordOrder
from edge_agent.settings.profile_head import Bounds, DeviceProfile, MeasuredChannel
from edge_agent.waveform.sample_ring import SAMPLE_TYPES, register_count
from edge_agent.waveform.window_features import FEATURES, feature_quantity

Address = Annotated[int, Field(ge=0, le=0xFFFF)]
ReadCode = Literal[3, 4]
SampleRate = Annotated[FiniteFloat, Field(ge=0.1, le=1_000.0)]
FeatureName = Literal["mean", "rms", "peak", "peak_to_peak", "minimum", "maximum"]
PositiveFloat = Annotated[FiniteFloat, Field(gt=0.0)]


class CounterRegister(Settings):
    """The register that counts what was written to the ring."""

    function_code: ReadCode = 3
    address: Address
    type: Literal["u16", "u32"] = "u32"
    word_order: WordOrder = WordOrder.ABCD
    modulus: int | None = Field(default=None, ge=2, le=2**32)
    """After this it counts from 0; without it, after all numbers of its type."""
    samples_per_count: int = Field(default=1, ge=1, le=100_000)


class SampleRing(Settings):
    """Where the newest samples stand."""

    function_code: ReadCode = 3
    samples: int = Field(ge=1, le=65_536)
    """So many of each waveform."""
    registers_per_sample: int | None = Field(default=None, ge=1, le=MAX_REGISTERS)
    """Of all waveforms side by side; without it each has a ring of its own."""


class SampledChannel(Settings):
    """A quantity that is sampled."""

    quantity: str
    address: Address
    """Of sample 0."""
    type: RegisterType = RegisterType.S16
    word_order: WordOrder = WordOrder.ABCD
    range: Bounds | None = None
    """What the instrument can measure, in the quantity's unit."""
    calibration: LinearCalibration | None = None
    """Of every instrument of this kind; a node's own goes before."""

    @model_validator(mode="after")
    def _check(self) -> SampledChannel:
        if self.quantity not in WAVEFORM_QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is not one of {', '.join(WAVEFORM_QUANTITIES)}")
        if self.type not in SAMPLE_TYPES:
            raise ValueError(f"type {self.type.value!r} is not one of {', '.join(sorted(SAMPLE_TYPES))}")
        return self


class WaveformProfile(DeviceProfile):
    """A logger."""

    protocol: Literal["modbus_waveform"]
    sample_rate_hz: SampleRate
    max_registers: int = Field(default=MAX_REGISTERS, ge=2, le=MAX_REGISTERS)
    """The most that it answers at once."""
    stale_after_s: FiniteFloat = Field(default=5.0, gt=0.0, le=3600.0)
    """No new sample for so long: the logger stands still, or its samples cannot be read."""
    counter: CounterRegister
    ring: SampleRing
    waveform: tuple[SampledChannel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_ring(self) -> WaveformProfile:
        if len({one.quantity for one in self.waveform}) < len(self.waveform):
            raise ValueError("waveform: each quantity once: several places of one quantity are several profiles")
        per_count, samples = self.counter.samples_per_count, self.ring.samples
        if samples % per_count or samples < per_count:
            raise ValueError(f"ring.samples: {samples} is no multiple of counter.samples_per_count {per_count}")
        turn = (self.counter.modulus or 1 << 16) * per_count
        if (self.counter.type == "u16" or self.counter.modulus) and turn % samples:
            raise ValueError(f"counter: begins anew after {turn} samples, which is no multiple of the ring's {samples}")
        width = self.ring.registers_per_sample
        first = min(one.address for one in self.waveform)
        for one in self.waveform:
            end = one.address - first + register_count(one.type)
            if width is not None and end > width:
                raise ValueError(f"waveform {one.quantity}: ends {end} registers after the first, a sample has {width}")
        return self

    @property
    def channel(self) -> tuple[MeasuredChannel, ...]:
        """The channels that a node of it may have: all features, and all bins of a rainflow count."""
        return tuple(
            MeasuredChannel(quantity=name, range=one.range)
            for one in self.waveform
            for name in (
                *(feature_quantity(one.quantity, feature) for feature in FEATURES),
                *(cycle_quantity(one.quantity, number) for number in range(1, CYCLE_BINS_MAX + 1)),
            )
        )

    def address_shift(self, channel_index: int | str | None) -> int:
        """Always 0: there are no repeated places. Raises ValueError if one is named."""
        if channel_index is not None:
            raise ValueError("the profile has no repeated channels: leave channel_index out")
        return 0


class WaveformNodeSettings(Settings):
    """What is made of a node's waveforms."""

    sample_rate_hz: SampleRate | None = None
    """What the logger is set to, if not to the profile's rate."""
    samples: bool = True
    """Whether the samples themselves are sent; without them only what is computed."""
    features: tuple[FeatureName, ...] = ("mean", "rms", "peak", "peak_to_peak", "minimum", "maximum")
    cycle_bin_width: dict[str, PositiveFloat] = Field(default_factory=dict)
    """By quantity, in its unit: the width of a bin of the rainflow count. Without it none is counted."""
    cycle_bins: int = Field(default=12, ge=1, le=CYCLE_BINS_MAX)
    """The last one holds all greater ranges too."""
