"""Scored messages with any other scores read back exactly, by us and by Arrow's own reader."""

from __future__ import annotations

import json
import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.alarm import ConditionInput
from contracts.errors import RecordError
from contracts.record import Record
from contracts.record_message import ScoredMessage, decode_scored, encode_scored
from contracts.score import OTHER_SCORES
from contracts.uplink import BatchIdentity

COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 700))
KINDS = st.lists(st.sampled_from(OTHER_SCORES), unique=True)
"""Any of them, in any order."""


def message_of(count: int, kinds: list[ConditionInput], seed: int) -> ScoredMessage:
    chance = np.random.default_rng(seed)

    def scores():
        column = chance.random(count).round(3)
        column[chance.random(count) < 0.3] = np.nan
        return column

    return ScoredMessage(
        source_offset=seed,
        made_ns=99,
        record=Record(
            channel_id=chance.integers(0, 2**32, count, dtype=np.uint32),
            phenomenon_ns=chance.integers(0, 2**62, count),
            received_ns=chance.integers(0, 2**62, count),
            value=chance.normal(0, 1e3, count),
            reason=chance.integers(0, 256, count, dtype=np.uint8),
            is_historical=chance.random(count) < 0.5,
            batch_index=np.zeros(count, dtype=np.int32),
            batches=(BatchIdentity("gw-1", 3, 17),),
        ),
        event_ns=chance.integers(0, 2**62, count),
        score_ewma_z=scores(),
        is_late=chance.random(count) < 0.5,
        other_scores={kind: scores() for kind in kinds},
    )


def head_of(data: bytes) -> tuple[dict, bytes]:
    """The head, and the stream before it."""
    (length,) = struct.unpack_from("<I", data, len(data) - 4)
    return json.loads(data[-4 - length : -4]), data[: -4 - length]


def with_head(stream: bytes, head: dict) -> bytes:
    text = json.dumps(head).encode()
    return stream + text + struct.pack("<I", len(text))


@given(COUNTS, KINDS, st.integers(0, 2**16))
def test_what_is_written_is_read_back_bit_for_bit_in_its_order(count, kinds, seed):
    message = message_of(count, kinds, seed)
    back = decode_scored(encode_scored(message))
    assert list(back.other_scores) == kinds
    for kind, column in message.other_scores.items():
        assert back.other_scores[kind].dtype == np.float64
        assert back.other_scores[kind].tobytes() == column.tobytes()
    for name in ("event_ns", "score_ewma_z", "is_late"):
        assert getattr(back, name).tobytes() == getattr(message, name).tobytes()
    assert back.record.value.tobytes() == message.record.value.tobytes()


@given(COUNTS, KINDS, st.integers(0, 2**16))
def test_any_reader_of_arrow_has_the_columns_under_their_names(count, kinds, seed):
    message = message_of(count, kinds, seed)
    table = pa.ipc.open_stream(encode_scored(message)).read_all()
    assert table.column_names[-len(kinds) :] == [kind.value for kind in kinds] or not kinds
    for kind, column in message.other_scores.items():
        np.testing.assert_array_equal(table[kind.value].to_numpy(), column)


@given(COUNTS, st.integers(0, 2**16))
def test_a_message_from_before_there_were_others_is_one_without_others(count, seed):
    message = message_of(count, [], seed)
    head, stream = head_of(encode_scored(message))
    del head["scores"]
    back = decode_scored(with_head(stream, head))
    assert back.other_scores == {}
    assert back.score_ewma_z.tobytes() == message.score_ewma_z.tobytes()


@given(COUNTS, KINDS, KINDS)
def test_a_head_that_names_other_columns_than_there_are_is_refused(count, kinds, named):
    head, stream = head_of(encode_scored(message_of(count, kinds, 1)))
    head["scores"] = [kind.value for kind in named]
    if named == kinds:
        decode_scored(with_head(stream, head))
        return
    with pytest.raises(RecordError, match="not a scored message"):
        decode_scored(with_head(stream, head))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["score_novelty", "score_novelty"], "scores score_novelty, score_novelty: not each once of score_robust_z, "),
        (["score_ewma_z"], "scores score_ewma_z: not each once"),
        (["value"], "scores value: not each once"),
        (["score_of_tomorrow"], "scores score_of_tomorrow: not each once"),
        ([7], "scores 7: not each once"),
        ([["a"]], "unhashable"),
        (None, "not iterable"),
    ],
)
def test_what_is_no_set_of_other_scores_is_refused_with_its_name(names, reason):
    head, stream = head_of(encode_scored(message_of(3, [], 1)))
    with pytest.raises(RecordError, match=f"not a scored message: .*{reason}"):
        decode_scored(with_head(stream, {**head, "scores": names}))


def test_what_is_no_other_score_is_not_written():
    message = message_of(3, [], 1)
    message.other_scores[ConditionInput.SCORE_EWMA_Z] = message.score_ewma_z
    with pytest.raises(ValueError, match="scores score_ewma_z: not each once of"):
        encode_scored(message)
