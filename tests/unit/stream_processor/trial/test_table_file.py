"""Files as people have them; each fault says file, line, column and value."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream_processor.errors import TrialError
from stream_processor.trial import csv_table, parquet_table
from stream_processor.trial.table import TableLayout
from stream_processor.trial.table_file import read_table

TIMED = TableLayout(values=("v",), time="t")


@pytest.fixture
def file_of(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text.encode(encoding))
        return path

    return write


def whole(path, layout=TIMED):
    batches = list(read_table(path, layout))
    return np.concatenate([each.times_ns for each in batches]), np.concatenate([each.values for each in batches])


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        ("t,v\n0,1\n60,2.5\n", TIMED),
        ("\ufefft;v\n0;1\n60;2.5\n", TIMED),
        ("t\tv\r\n0\t1\r\n\r\n60\t2.5\r\n", TIMED),
        ("x, t , v\n9, 0, 1\n9, 60, 2.5", TIMED),
        ('t,"what, it is",v\n0,"a\nb",1\n60,"a ""b""",2.5\n', TIMED),
        ("t;v\n0;1,0\n60;2,5\n", TableLayout(values=("v",), time="t", has_decimal_comma=True)),
        ("0,1\n60,2.5\n", TableLayout(values=("2",), time="1", has_header=False)),
        ("1\n2.5\n", TableLayout(values=("1",), period_s=60.0, has_header=False)),
        ("t v\n0 1\n60   2.5\n", TableLayout(values=("v",), time="t", separator=" ")),
    ],
)
def test_the_same_readings_are_read_from_all_kinds_of_files(file_of, text, layout):
    times, values = whole(file_of(text), layout)
    assert times.tolist() == [0, 60_000_000_000]
    assert values[:, 0].tolist() == [1.0, 2.5]


def test_a_packed_file_and_one_in_an_old_encoding_are_read(tmp_path, file_of):
    packed = tmp_path / "a.csv.gz"
    packed.write_bytes(gzip.compress(b"t,v\n0,1\n"))
    assert whole(packed)[1].tolist() == [[1.0]]
    old = file_of("t,°C\n0,1\n", encoding="cp1252")
    assert whole(old, TableLayout(values=("°C",), time="t"))[1].tolist() == [[1.0]]


def test_batches_of_one_row_say_the_same_as_one_of_all(file_of, monkeypatch):
    path = file_of("t,v\n" + "".join(f"{each},{each}\n" for each in range(10)))
    at_once = whole(path)
    monkeypatch.setattr(csv_table, "BATCH_CELLS", 1)
    assert len(list(read_table(path, TIMED))) == 10
    for one, other in zip(at_once, whole(path), strict=True):
        assert one.tolist() == other.tolist()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t,v\n0,1\n\n60,x\n", r"a\.csv: line 4: column 'v': 'x' is no number"),
        ('t,v\n0,"1\n2"\n', r"line 3: column 'v'"),
        ("t,v\n0,1\nlater,1\n", r"line 3: column 't': 'later'"),
        ("t,v\n0,1\n,1\n", r"line 3: column 't': there is no time"),
        ("t,v\n0,1\n60\n", r"line 3: 1 cells"),
        ("t,w\n0,1\n", r"there is no column 'v' among t, w$"),
        ("0,1\n1,2\n", r"--no-header"),
        ("t,v,v\n0,1,1\n", r"column 'v' stands more than once"),
        ("", r"the file is empty"),
        ("t,v\n03/04/2026,1\n", r"day or with the month"),
    ],
)
def test_a_fault_says_where_and_what(file_of, text, words):
    with pytest.raises(TrialError, match=words):
        whole(file_of(text))


def test_a_file_that_is_not_there_or_no_parquet_is_a_fault_of_the_file(tmp_path, file_of):
    with pytest.raises(TrialError, match=r"none\.csv: cannot be read"):
        whole(tmp_path / "none.csv")
    with pytest.raises(TrialError, match=r"a\.parquet: cannot be read"):
        whole(file_of("no parquet", "a.parquet"))


@pytest.mark.parametrize(
    "times",
    [
        pa.array([0, 60], pa.int64()),
        pa.array([0.0, 60.0], pa.float64()),
        pa.array([0, 60_000_000_000]).cast(pa.timestamp("ns")),
        pa.array([0, 60_000]).cast(pa.timestamp("ms", "Asia/Shanghai")),
        pa.array(["1970-01-01 00:00:00", "1970-01-01 00:01:00"]),
    ],
)
@pytest.mark.parametrize("kind", [pa.int32(), pa.float32(), pa.string(), pa.decimal128(12, 1)])
def test_parquet_of_all_types_is_read(tmp_path, times, kind, monkeypatch):
    monkeypatch.setattr(parquet_table, "BATCH_CELLS", 2)
    path = tmp_path / "a.parquet"
    values = pa.array(["7", "8"]) if kind == pa.string() else pa.array([7, 8], pa.int32()).cast(kind)
    pq.write_table(pa.table({"v": values, "t": times}), path)
    found_times, found = whole(path)
    assert found_times.tolist() == [0, 60_000_000_000]
    assert found[:, 0].tolist() == [7.0, 8.0]


def test_nulls_of_parquet_are_missing_values_and_a_fault_among_times(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"v": [1.0, None], "t": [0, 1]}), path)
    assert np.isnan(whole(path)[1][1, 0])
    pq.write_table(pa.table({"v": [1.0, 2.0], "t": pa.array([0, None], pa.int64())}), path)
    with pytest.raises(TrialError, match="row 2: column 't': there is no time"):
        whole(path)
    pq.write_table(pa.table({"v": [[1], [2]], "t": [0, 1]}), path)
    with pytest.raises(TrialError, match="column 'v' of type list"):
        whole(path)


def test_days_of_dates_are_times(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"v": [1.0], "t": [datetime(2026, 1, 2, tzinfo=UTC).date()]}), path)
    assert whole(path)[0].tolist() == [int(datetime(2026, 1, 2, tzinfo=UTC).timestamp()) * 10**9]
