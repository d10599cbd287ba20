"""However many faults a configuration has: all are told, each once, with its path and its value."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.configuration import Settings, parse_settings
from contracts.errors import ConfigurationError


class Bus(Settings):
    baud_rate: int
    timeout_s: float = 1.0


class Agent(Settings):
    bus: tuple[Bus, ...] = ()


entries = st.tuples(
    st.sampled_from(["sound", "wrong", "missing"]), st.sampled_from(["sound", "wrong", "nan"]), st.booleans()
)


def write(fleet):
    """The TOML document of the drawn entries, and the paths at which it is wrong."""
    lines, paths = [], set()
    for index, (baud_rate, timeout, has_unknown_key) in enumerate(fleet):
        lines.append("[[bus]]")
        if baud_rate != "missing":
            lines.append(f"baud_rate = {'9600' if baud_rate == 'sound' else repr('fast')}")
        lines.append({"sound": "timeout_s = 2.5", "wrong": "timeout_s = [1]", "nan": "timeout_s = nan"}[timeout])
        if has_unknown_key:
            lines.append("parity = 'N'")
        paths |= {f"$.bus[{index}].baud_rate"} if baud_rate != "sound" else set()
        paths |= {f"$.bus[{index}].timeout_s"} if timeout != "sound" else set()
        paths |= {f"$.bus[{index}].parity"} if has_unknown_key else set()
    return "\n".join(lines), paths


@given(st.lists(entries, max_size=6))
def test_every_fault_is_told_once_and_no_sound_place_is_blamed(fleet):
    text, wrong = write(fleet)
    if not wrong:
        assert len(parse_settings(Agent, text, "agent.toml").bus) == len(fleet)
        return
    with pytest.raises(ConfigurationError) as caught:
        parse_settings(Agent, text, "agent.toml")
    assert sorted(fault.path for fault in caught.value.faults) == sorted(wrong)
    assert all(line.startswith("agent.toml: $.") for line in str(caught.value).splitlines())
    told = [fault.message for fault in caught.value.faults if fault.path.endswith("baud_rate")]
    assert all("'fast'" in message or message == "is missing" for message in told)


@given(st.text(max_size=80))
def test_any_text_is_a_configuration_or_a_configuration_error(text):
    with contextlib.suppress(ConfigurationError):
        assert isinstance(parse_settings(Agent, text, "agent.toml"), Agent)
