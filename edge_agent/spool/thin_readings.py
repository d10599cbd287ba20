"""Which readings stay when a full spool is thinned. Pure.

Of each channel and window of time stay

- the first and the last good reading, and the lowest and the highest of the good ones (the extremes);
- every reading that is not good, and the good ones before and after it (where the quality changed);
- every reading beyond a set-point that the agent knows, and the ones before and after it (the alarm and its edges).

All others go: good readings between two that stay, none of them higher or lower than what stays of their window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from edge_agent.spool.batch_columns import BatchColumns
from edge_agent.spool.set_points import SetPoints

NANOSECONDS_PER_SECOND: Final = 1_000_000_000


_Place = tuple[int, int]
"""(position of the batch, position of the reading in it)."""
_Point = tuple[int, float | None, bool, _Place]
"""time_ns, value, whether it stays in any case, place."""


def thin_batches(
    batches: Sequence[BatchColumns], window_s: int, set_points: Mapping[int, SetPoints]
) -> list[BatchColumns]:
    """What stays of batches, batch by batch (one of which nothing stays is empty).

    Args:
        batches: that follow each other. A window that they hold only a part of is thinned as if it were whole.
        window_s: width of a window, seconds; windows begin at whole multiples since 1970.
        set_points: by channel_id, as far as the agent knows any.
    """
    kept: list[set[int]] = [set() for _ in batches]
    for points in _by_channel(batches, set_points):
        for batch_at, at in _places_that_stay(points, window_s * NANOSECONDS_PER_SECOND):
            kept[batch_at].add(at)
    return [columns.take(sorted(places)) for columns, places in zip(batches, kept, strict=True)]


def _by_channel(batches: Sequence[BatchColumns], set_points: Mapping[int, SetPoints]) -> Iterator[list[_Point]]:
    points: dict[int, list[_Point]] = {}
    for batch_at, columns in enumerate(batches):
        for at, (channel_id, time_ns, value, reason) in enumerate(zip(*columns, strict=True)):
            limits = set_points.get(channel_id)
            is_notable = reason != 0 or value is None or (limits is not None and limits.is_beyond(value))
            points.setdefault(channel_id, []).append((time_ns, value, is_notable, (batch_at, at)))
    for of_channel in points.values():
        of_channel.sort(key=_time_of)
        yield of_channel


def _places_that_stay(points: Sequence[_Point], window_ns: int) -> Iterator[_Place]:
    last = len(points) - 1
    plain: list[_Point] = []
    window = None
    for at, point in enumerate(points):
        if point[2]:
            yield points[max(at - 1, 0)][3]
            yield point[3]
            yield points[min(at + 1, last)][3]
            continue
        if plain and point[0] // window_ns != window:
            yield from _outline(plain)
            plain = []
        window = point[0] // window_ns
        plain.append(point)
    if plain:
        yield from _outline(plain)


def _outline(points: Sequence[_Point]) -> Iterator[_Place]:
    """First, last, lowest and highest."""
    yield points[0][3]
    yield points[-1][3]
    yield min(points, key=_value_of)[3]
    yield max(points, key=_value_of)[3]


def _time_of(point: _Point) -> int:
    return point[0]


def _value_of(point: _Point) -> float:
    assert point[1] is not None  # a reading without a value is notable
    return point[1]
