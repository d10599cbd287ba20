"""Between the physical quantity and what an instrument measures: vibrating wire and thermistor, inverted.

    vibrating wire   eps = G * (f^2 - f0^2) * 1e-3                        µε, f in Hz
    thermistor       T = 1 / (A + B lnR + C lnR^3 + D lnR^5) - K          °C, R in Ω

Source: fields.md section 1.4 for the wire; Geokon manual 8002-4-1, page 52, equation 7 for the thermistor.
"""

from __future__ import annotations

import math

from pydantic import Field

from contracts.configuration import Settings


class VibratingWire(Settings):
    """A strain gauge: a wire that is plucked and rings."""

    gauge_factor: float = Field(default=4.062, gt=0.0)
    """G in µε per 1000 Hz²."""
    zero_frequency_hz: float = Field(default=900.0, gt=0.0)
    """f0: the frequency at strain 0."""

    def frequency_hz(self, strain_ue: float) -> float:
        """The wire's frequency at a strain; 0 where the wire would be slack."""
        return math.sqrt(max(self.zero_frequency_hz**2 + strain_ue * 1e3 / self.gauge_factor, 0.0))


class Thermistor(Settings):
    """A thermistor by its polynomial in lnR."""

    a: float
    b: float
    c: float
    d: float
    kelvin_offset: float = 273.2

    def resistance_ohm(self, temperature_celsius: float) -> float:
        """The resistance at a temperature, by Newton's method (the polynomial is monotonic in lnR)."""
        target = 1.0 / (temperature_celsius + self.kelvin_offset)
        log_resistance = (target - self.a) / self.b
        for _ in range(20):
            error = self._inverse_kelvin(log_resistance) - target
            slope = self.b + 3.0 * self.c * log_resistance**2 + 5.0 * self.d * log_resistance**4
            log_resistance -= error / slope
            if abs(error) < 1e-15:
                break
        return math.exp(log_resistance)

    def _inverse_kelvin(self, log_resistance: float) -> float:
        cube = log_resistance**3
        return self.a + self.b * log_resistance + self.c * cube + self.d * cube * log_resistance**2
