"""Births in parts are births, byte for byte."""

import pytest

from contracts.sparkplug.datatype import DataType
from contracts.sparkplug.payload import Metric, Payload, Property, encode_payload
from edge_agent.uplink.birth_codec import METRICS_AT_ONCE, encode_birth


@pytest.mark.parametrize("count", [0, 1, METRICS_AT_ONCE, METRICS_AT_ONCE + 1, 3 * METRICS_AT_ONCE])
@pytest.mark.parametrize("seq", [0, 255])
def test_parts_one_after_the_other_are_the_whole(count, seq):
    metrics = [
        Metric(
            name=f"n{at}/level",
            alias=at,
            timestamp_ms=7,
            datatype=DataType.DOUBLE,
            value=None if at % 3 else at / 7,
            properties={"engUnit": Property(DataType.STRING, "m")},
        )
        for at in range(count)
    ]
    whole = encode_payload(Payload(timestamp_ms=5, metrics=metrics, seq=seq))
    assert encode_birth(iter(metrics), 5, seq) == whole
