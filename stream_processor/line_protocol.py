"""Points as InfluxDB line protocol: from columns to one joined body, never line by line. Pure.

    <measurement>,<tag>=<value>,… <field>=<value>[,<field>=<value>…] <time in ns>

What a series' lines begin with is escaped once, when the fleet changes. For a body, numbers are formatted by column
(orjson: shortest text that parses to the same binary64), every piece of every line becomes an index into one pool
of strings, and a single `take` lays them out in their order: the data buffer of the result is the body. Scores beside
the standard one are few, since most are below `SCORE_WRITTEN_FROM`: those of a line are laid out before, as one piece.

Source: https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/ (special characters, data types).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from contracts.influx_schema import (
    BAD_VALUE,
    QUALITY,
    SCORE_EWMA_Z,
    SCORE_WRITTEN_FROM,
    VALUE,
    series_tags,
)
from contracts.quality import Reason
from contracts.record import Bools, Floats, Int64s, Record, UInt8s
from contracts.score import SCORES, STANDARD
from contracts.score_columns import OtherScores, select_scores
from stream_processor.detectors.contract import Rows
from stream_processor.fleet_index import ChannelContext
from stream_processor.pipeline.pipeline import Scored
from stream_processor.pipeline.quality_control import is_bad

LINES_PER_BODY: Final = 5_000
"""InfluxData recommend 5,000 to 10,000 lines a request; with 5,000 all columns stay in the cache of a core."""

_REASON_CODES: Final = 256


@dataclass(frozen=True, slots=True)
class Points:
    """Columns of one length, in order."""

    row: Rows
    """Position of the channel in the series array."""
    time_ns: Int64s
    value: Floats
    """Not finite: there is none."""
    reason: UInt8s
    score_ewma_z: Floats
    """Not finite: there is none. That of a reading without value, or below `SCORE_WRITTEN_FROM`, is not written."""
    other_scores: OtherScores = field(default_factory=dict)
    """The same of other detectors, each a field of the same point."""

    def __len__(self) -> int:
        return len(self.row)

    def part(self, which: slice | NDArray[np.intp]) -> Points:
        """Some of the points."""
        return Points(
            self.row[which],
            self.time_ns[which],
            self.value[which],
            self.reason[which],
            self.score_ewma_z[which],
            select_scores(self.other_scores, which),
        )


@dataclass(frozen=True, slots=True)
class Body:
    """What one write request carries."""

    text: bytes
    """Lines, joined by a line feed; none at the end."""
    point_index: NDArray[np.intp]
    """Of each line: the position of its point in the columns that the bodies were built from."""


def points_of(record: Record, scored: Scored) -> Points:
    """What a record and its scores are as points, at event time. Rows are those of the pipeline's channel table."""
    return Points(scored.row, scored.event_ns, record.value, scored.reason, scored.score_ewma_z, scored.other_scores)


def escape_measurement(name: str) -> str:
    """A measurement as it stands in a line. Raises ValueError for what no line can carry."""
    if name.startswith("#"):
        raise ValueError(f"measurement {name!r}: a line that begins with '#' is a comment")
    return _escape("measurement", name, ", ")


def escape_tag(text: str) -> str:
    """A tag's key or value as it stands in a line. Raises ValueError for what no line can carry."""
    return _escape("tag", text, ",= ")


def format_series(measurement: str, tags: Iterable[tuple[str, str]]) -> str:
    """What all lines of a series begin with: `gas,district=harbour,… `, with the space before the fields."""
    pairs = "".join(f",{escape_tag(key)}={escape_tag(value)}" for key, value in tags)
    return f"{escape_measurement(measurement)}{pairs} "


def build_series(beginnings: Iterable[str | None]) -> pa.Array:
    """The array that `build_bodies` takes: by row, what its lines begin with; None where no channel is known."""
    return pa.array(list(beginnings), pa.string())


def series_of_fleet(channel_ids: Iterable[int], contexts: Mapping[int, ChannelContext]) -> pa.Array:
    """The series of channels by row; a channel that the fleet does not have (any more) has none."""
    return build_series(
        None if (context := contexts.get(each)) is None else _beginning(context) for each in channel_ids
    )


def find_without_series(series: pa.Array, rows: Rows) -> NDArray[np.intp]:
    """Positions of the points that `build_bodies` leaves out, because nothing says what they belong to."""
    if series.null_count == 0:
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(_is_null(series)[rows])


def build_bodies(series: pa.Array, points: Points, lines_per_body: int = LINES_PER_BODY) -> Iterator[Body]:
    """The points as bodies of at most `lines_per_body` lines.

    A bad reading without a value is a line too, with its quality alone. Left out are only the points that
    `find_without_series` names.
    """
    if series.null_count == 0:
        index = np.arange(len(points))
    else:
        index = np.flatnonzero(~_is_null(series)[points.row])
        points = points.part(index)
    for first in range(0, len(points), lines_per_body):
        window = slice(first, first + lines_per_body)
        yield Body(_join(series, points.part(window)), index[window])


def halves(body: Body) -> tuple[Body, Body]:
    """The body's lines as two bodies. It must have two lines at least."""
    lines = body.text.split(b"\n")
    middle = len(lines) // 2
    return (
        Body(b"\n".join(lines[:middle]), body.point_index[:middle]),
        Body(b"\n".join(lines[middle:]), body.point_index[middle:]),
    )


# --- pieces of a line -------------------------------------------------------------------------------------------
# <series><key><value>,<key><score>,quality=<code>i <time>⏎: a number's text ends with the character that follows it.
# The quality of a good value is not written. In a line with other scores all of them are one piece, with their keys, at
# the place of <score>, and <key> is nothing.

_CONSTANTS: Final = pa.array(
    [
        "",
        f"{VALUE}=",
        f"{BAD_VALUE}=",
        f"{SCORE_EWMA_Z}=",
        *(f"{QUALITY}={code}i " for code in range(_REASON_CODES)),
    ],
    pa.string(),
)
_NOTHING, _VALUE_KEY, _BAD_VALUE_KEY, _SCORE_KEY, _QUALITY = (np.int32(position) for position in range(5))
_SCORE_KEYS: Final = pa.array([f"{score}=" for score in SCORES], pa.string())
_COMMA, _SPACE, _LINE_FEED = (np.uint8(ord(character)) for character in ", \n")


class _Pool:
    """The texts that the lines of a body are made of; a piece of a line is the position of one of them."""

    def __init__(self) -> None:
        self._arrays = [_CONSTANTS]
        self._length = len(_CONSTANTS)

    def add(self, texts: pa.Array) -> NDArray[np.int32]:
        """Gives the positions of these texts."""
        first = self._length
        self._arrays.append(texts)
        self._length += len(texts)
        return np.arange(first, self._length, dtype=np.int32)

    def join(self, columns: Sequence[NDArray[np.int32]]) -> bytes:
        """The pieces of each line, one from each column, line after line."""
        pieces = np.empty((len(columns[0]), len(columns)), dtype=np.int32)
        for at, column in enumerate(columns):
            pieces[:, at] = column
        text = pa.concat_arrays(self._arrays).take(pa.array(pieces.ravel())).buffers()[2]
        return bytes(text.slice(0, text.size - 1).to_pybytes())  # without the line feed that the last line ends with


def _join(series: pa.Array, points: Points) -> bytes:
    has_value: Bools = np.isfinite(points.value)
    has_quality = ~has_value | (points.reason != Reason.OK)
    has_score = has_value & _is_written(points.score_ewma_z)
    with_others, their_scores = _join_scores(points, has_value, has_quality)
    has_score[with_others] = False
    is_followed = has_score | has_quality
    is_followed[with_others] = True
    value_key = np.where(is_bad(points.reason), _BAD_VALUE_KEY, _VALUE_KEY)
    pool = _Pool()
    score = _place(pool.add(_format_some(points.score_ewma_z, has_score, has_quality)), has_score)
    score[with_others] = pool.add(their_scores)
    return pool.join(
        [
            pool.add(series.take(pa.array(points.row))),
            np.where(has_value, value_key, _NOTHING),
            _place(pool.add(_format_some(points.value, has_value, is_followed)), has_value),
            np.where(has_score, _SCORE_KEY, _NOTHING),
            score,
            np.where(has_quality, points.reason + _QUALITY, _NOTHING),
            pool.add(_format(points.time_ns, _LINE_FEED)),
        ]
    )


def _place(pieces: NDArray[np.int32], which: Bools) -> NDArray[np.int32]:
    """By line: its piece if it is one of these lines, else nothing."""
    placed = np.zeros(len(which), np.int32)
    placed[which] = pieces
    return placed


def _is_written(score: Floats) -> Bools:
    return np.isfinite(score) & (score >= SCORE_WRITTEN_FROM)


def _join_scores(points: Points, has_value: Bools, has_quality: Bools) -> tuple[Rows, pa.Array]:
    """Which lines have other scores, and all scores of each as one text (`score_ewma_z=0.6,score_novelty=0.7,`)."""
    lines = _find_others(points.other_scores, has_value)
    if len(lines) == 0:
        return lines, pa.array([], pa.string())
    scores = {STANDARD: points.score_ewma_z, **points.other_scores}
    table = np.array([column[lines] for column in scores.values()]).T  # a row a line
    is_written = _is_written(table)
    ends = np.add.reduce(is_written, axis=1, dtype=np.intp).cumsum()
    endings = np.full(ends[-1], _COMMA)
    endings[ends - 1] = np.where(has_quality[lines], _COMMA, _SPACE)
    pieces = np.empty((ends[-1], 2), np.int32)
    pieces[:, 0] = np.array([SCORES.index(score) for score in scores])[is_written.nonzero()[1]]
    pieces[:, 1] = np.arange(len(_SCORE_KEYS), len(_SCORE_KEYS) + ends[-1])
    pool = pa.concat_arrays([_SCORE_KEYS, _format(table[is_written], endings)])
    return lines, _merge(pool.take(pa.array(pieces.ravel())), 2 * ends)


def _find_others(scores: OtherScores, has_value: Bools) -> Rows:
    """The lines that have any of these scores."""
    has_any = np.zeros(len(has_value), np.bool_)
    for column in scores.values():
        has_any |= _is_written(column)
    return np.flatnonzero(has_any & has_value)


def _merge(texts: pa.Array, ends: NDArray[np.intp]) -> pa.Array:
    """Neighbours as one text each: the first `ends[0]`, those up to `ends[1]`, and so on. Copies none."""
    _, offsets, text = texts.buffers()
    merged = np.frombuffer(offsets, np.int32)[np.concatenate([[0], ends])]
    return pa.StringArray.from_buffers(len(ends), pa.py_buffer(merged), text)


def _format_some(column: Floats, which: Bools, is_followed: Bools) -> pa.Array:
    """These numbers as text, each followed by another field or none."""
    return _format(column[which], np.where(is_followed[which], _COMMA, _SPACE))


def _format(column: Floats | Int64s, endings: UInt8s | np.uint8) -> pa.Array:
    """Finite numbers as text, each followed by a character.

    orjson writes an array as `[1.5,2.0]`, in a third of the time of Arrow's cast: what stands between the numbers is
    where they end, and becomes their ending.
    """
    text = np.frombuffer(orjson.dumps(np.ascontiguousarray(column), option=orjson.OPT_SERIALIZE_NUMPY), np.uint8).copy()
    text[-1] = _COMMA
    ends = np.flatnonzero(text == _COMMA)[: len(column)]
    text[ends] = endings
    offsets = np.ones(len(column) + 1, np.int32)
    offsets[1:] += ends
    return pa.StringArray.from_buffers(len(column), pa.py_buffer(offsets), pa.py_buffer(text))


def _beginning(context: ChannelContext) -> str:
    node, site = context.node, context.site
    return format_series(
        str(site.domain), series_tags(site.district_id, node.gateway_id, node.node_id, context.channel.quantity)
    )


def _escape(what: str, text: str, special: str) -> str:
    if not text:
        raise ValueError(f"{what}: empty")
    if text.endswith("\\"):
        raise ValueError(f"{what} {text!r}: a backslash at the end would escape what follows it")
    if any(character < " " or character == "\x7f" for character in text):
        raise ValueError(f"{what} {text!r}: a control character")
    return "".join(f"\\{character}" if character in special else character for character in text)


def _is_null(series: pa.Array) -> NDArray[Any]:
    return np.asarray(series.is_null().to_numpy(zero_copy_only=False))
