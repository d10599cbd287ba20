"""Arrow streams without Arrow's price: byte for byte what Arrow writes, read as Arrow reads. Arrow is the oracle."""

import io

import numpy as np
import pyarrow as pa
import pytest

from contracts.arrow_layout import END_OF_STREAM, ArrowColumns
from contracts.record_message import OBSERVATION_SCHEMA, SCORED_SCHEMA

COUNTS = (0, 1, 2, 7, 8, 9, 63, 64, 65, 500, 4_001)
REFUSED = (pa.ArrowException, OSError, StopIteration, ValueError)


def columns_of(schema, count, seed=1):
    random = np.random.default_rng(seed)
    return [random.integers(0, 200, count).astype(each.to_pandas_dtype()) for each in schema.types]


def written_by_arrow(schema, columns, options=None):
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays([pa.array(each) for each in columns], schema=schema))
    return sink.getvalue()


def assert_same(found, expected):
    assert len(found) == len(expected)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("schema", [OBSERVATION_SCHEMA, SCORED_SCHEMA], ids=["observations", "scored"])
def test_what_is_written_is_what_arrow_writes_and_what_arrow_wrote_is_read(schema, count):
    columns = columns_of(schema, count)
    stream = written_by_arrow(schema, columns)
    assert stream.endswith(END_OF_STREAM)
    assert bytes(ArrowColumns(schema).encode(columns)) == stream
    reader = ArrowColumns(schema)
    assert_same(reader.decode(stream + b"tail", len(stream)), columns)
    other = columns_of(schema, count, seed=2)  # from now on the layout is known
    stream = written_by_arrow(schema, other)
    assert_same(reader.decode(stream + b"tail", len(stream)), other)


def test_a_stream_that_ends_too_soon_is_refused_whether_its_layout_is_known_or_not():
    stream = written_by_arrow(OBSERVATION_SCHEMA, columns_of(OBSERVATION_SCHEMA, 20))
    body_end = len(stream) - len(END_OF_STREAM)
    for is_known in (False, True):
        for end in range(0, body_end, 7):
            reader = ArrowColumns(OBSERVATION_SCHEMA)
            if is_known:
                reader.decode(stream, len(stream))
            with pytest.raises(REFUSED):
                reader.decode(stream[:end], end)
            if end >= 8:
                with pytest.raises(REFUSED):
                    reader.decode(stream, end - 8)


def test_a_value_that_is_null_is_refused_though_a_stream_of_as_many_rows_was_read_before():
    schema = OBSERVATION_SCHEMA
    columns = columns_of(schema, 20)
    reader = ArrowColumns(schema)
    whole = written_by_arrow(schema, columns)
    reader.decode(whole, len(whole))
    holes = [pa.array(each) for each in columns]
    holes[3] = pa.array([None, *columns[3][1:].tolist()], pa.float64())
    stream = written_by_arrow(schema, holes)
    with pytest.raises(ValueError, match="value: 1 values are null"):
        reader.decode(stream, len(stream))


def test_a_compressed_stream_is_read_each_time():
    """Its columns do not stand in it: nothing may be remembered of their places."""
    schema = OBSERVATION_SCHEMA
    reader = ArrowColumns(schema)
    for seed in (1, 2):
        columns = columns_of(schema, 2_000, seed)
        stream = written_by_arrow(schema, columns, pa.ipc.IpcWriteOptions(compression="lz4"))
        assert_same(reader.decode(stream, len(stream)), columns)


def test_other_columns_are_refused():
    stream = written_by_arrow(SCORED_SCHEMA, columns_of(SCORED_SCHEMA, 3))
    with pytest.raises(ValueError, match="expected \\['channel_id'"):
        ArrowColumns(OBSERVATION_SCHEMA).decode(stream, len(stream))


def test_columns_of_another_length_or_with_values_that_the_schema_has_not_are_refused():
    stream = ArrowColumns(OBSERVATION_SCHEMA)
    columns = columns_of(OBSERVATION_SCHEMA, 5)
    with pytest.raises(ValueError, match="column value has 4 rows, not 5"):
        stream.encode([*columns[:3], columns[3][:4], *columns[4:]])
    assert stream.encode([columns[0].astype(np.int64), *columns[1:]]) == stream.encode(columns)
    with pytest.raises(pa.ArrowInvalid):
        stream.encode([columns[0].astype(np.int64) - 1_000, *columns[1:]])


def test_no_more_layouts_are_remembered_than_is_said():
    reader = ArrowColumns(OBSERVATION_SCHEMA, layouts_kept=3)
    for count in (1, 2, 3, 4, 5, 1):
        stream = written_by_arrow(OBSERVATION_SCHEMA, columns_of(OBSERVATION_SCHEMA, count))
        assert len(reader.decode(stream, len(stream))[0]) == count
        assert len(reader._layouts) <= 3
