"""A device's channels judged as columns give what they give one by one, whatever was read."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from contracts.quality import Reason
from edge_agent.lines.linear_conversion import LinearConversion
from edge_agent.modbus.channel_judge import ChannelJudge, JudgedChannel, judge_channel

FIELDS = 12

factors = st.sampled_from([1.0, 0.1, -2.5, 1000.0])
linear = st.builds(
    LinearConversion,
    scale=factors,
    offset=st.sampled_from([0.0, -40.0, 273.15]),
    divisor=st.sampled_from([1.0, 10.0, 3.0]),
)


class Fault:
    """A state register: odd is a fault."""

    def reason_of(self, register: int) -> Reason:
        return Reason.DEVICE_FAULT if register % 2 else Reason.OK


channels = st.lists(
    st.builds(
        JudgedChannel,
        alias=st.integers(1, 10**6),
        field_at=st.integers(0, FIELDS - 2),
        convert=st.one_of(st.none(), linear),
        low=st.sampled_from([-math.inf, -100.0, 0.0]),
        high=st.sampled_from([50.0, 6553.5, math.inf]),
        states=st.sampled_from([(), (), ((FIELDS - 1, Fault()),)]),
    ),
    max_size=20,
    unique_by=lambda channel: channel.alias,
)
registers = st.integers(0, 0xFFFF)
floats = st.one_of(registers, st.integers(-(2**63), 2**64 - 1), st.floats())
numbers = st.one_of(
    st.lists(registers, min_size=FIELDS, max_size=FIELDS),
    st.lists(st.one_of(registers, st.none()), min_size=FIELDS, max_size=FIELDS),
    st.tuples(*[floats] * (FIELDS - 1), registers).map(list),
)


@given(channels, numbers)
@example([JudgedChannel(alias, 0, None, -math.inf, math.inf) for alias in range(4)], [math.inf] * FIELDS)
@example([JudgedChannel(alias, alias, None, -math.inf, 50.0) for alias in range(4)], [-math.inf, 60.0, 1.0, 2.0])
def test_columns_judge_as_one_by_one(channels, numbers):
    failures = [Reason.NO_ANSWER] * FIELDS
    expected = [judge_channel(channel, numbers, failures, 1.0) for channel in channels]
    assert ChannelJudge(channels).judge(numbers, failures, 1.0) == expected


@given(st.lists(registers, min_size=FIELDS, max_size=FIELDS), st.sets(st.integers(0, FIELDS - 1), max_size=4))
def test_what_is_not_linear_is_judged_beside_the_columns_and_the_order_stays(numbers, odd_ones):
    channels = [
        JudgedChannel(at + 1, at, math.sqrt if at in odd_ones else LinearConversion(0.1), 0.0, 1000.0)
        for at in range(FIELDS)
    ]
    outcomes = ChannelJudge(channels).judge(numbers, [Reason.NO_ANSWER] * FIELDS, 1.0)
    assert [alias for alias, _, _ in outcomes] == [channel.alias for channel in channels]
    for (_, value, _), number, at in zip(outcomes, numbers, range(FIELDS), strict=True):
        assert value == (math.sqrt(number) if at in odd_ones else 0.1 * number)
