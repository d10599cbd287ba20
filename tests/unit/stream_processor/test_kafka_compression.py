"""What leaves our producers is compressed with the fast LZ4, by the code that aiokafka's producer runs."""

import cramjam
import numpy as np
import pytest
from aiokafka import codec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_processor.distributed.kafka_compression import LZ4_LEVEL, use_fast_lz4

LZ4 = 3
"""Attribute bits of a record batch: compression."""
VALUE = np.random.default_rng(1).integers(0, 40, 25_000).cumsum().tobytes()


@pytest.fixture(autouse=True)
def defaults(monkeypatch):
    monkeypatch.setattr(codec.lz4_encode, "__defaults__", (9,))


def size_of_batch():
    builder = DefaultRecordBatchBuilder(
        2, LZ4, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1_048_576
    )
    builder.append(0, 0, key=None, value=VALUE, headers=[])
    return len(builder.build())


def test_a_batch_is_compressed_with_the_fast_level():
    slow = size_of_batch()
    use_fast_lz4()
    fast = size_of_batch()
    assert slow < fast < len(VALUE)
    assert codec.lz4_encode(VALUE) == codec.lz4_encode(VALUE, LZ4_LEVEL)
    assert bytes(cramjam.lz4.decompress(codec.lz4_encode(VALUE))) == VALUE


def test_an_aiokafka_with_another_default_is_left_alone(monkeypatch):
    monkeypatch.setattr(codec.lz4_encode, "__defaults__", (3,))
    use_fast_lz4()
    assert codec.lz4_encode.__defaults__ == (3,)
