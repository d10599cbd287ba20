"""What stays when a full spool is thinned: extremes, quality changes, alarms and their edges."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.spool.batch_columns import BatchColumns
from edge_agent.spool.set_points import SetPoints
from edge_agent.spool.thin_readings import thin_batches
from edge_agent.spool.thin_spool import WINDOWS_S

SECOND_NS = 1_000_000_000
BAD = 64
LIMITS = {1: SetPoints(low=None, high=25.0)}

Row = tuple[int, int, float | None, int]


def columns_of(rows: list[Row]) -> BatchColumns:
    return BatchColumns(*([row[at] for row in rows] for at in range(4)))


def thin(*batches: list[Row], window_s: int = 60, set_points=None) -> list[list[Row]]:
    kept = thin_batches([columns_of(rows) for rows in batches], window_s, set_points or {})
    return [list(zip(*columns, strict=True)) for columns in kept]


def row(second: int, value: float | None, reason: int = 0, channel: int = 1) -> Row:
    return channel, second * SECOND_NS, value, reason


def seconds(rows: list[Row]) -> list[int]:
    return [time_ns // SECOND_NS for _, time_ns, _, _ in rows]


def test_of_a_window_stay_the_first_the_last_the_lowest_and_the_highest():
    values = [5.0, 6.0, 9.0, 2.0, 4.0, 4.5]
    (kept,) = thin([row(at, value) for at, value in enumerate(values)])
    assert seconds(kept) == [0, 2, 3, 5]


def test_each_window_and_each_channel_has_its_own():
    (kept,) = thin([row(second, 1.0, channel=channel) for second in range(120) for channel in (1, 2)])
    assert seconds(kept) == [0, 0, 59, 59, 60, 60, 119, 119]


def test_a_window_may_span_batches_and_one_of_which_nothing_stays_is_empty():
    kept = thin([row(0, 1.0), row(1, 1.0)], [row(2, 1.0), row(3, 1.0)], [row(4, 1.0)])
    assert [seconds(rows) for rows in kept] == [[0], [], [4]]


def test_bad_readings_stay_with_the_good_ones_before_and_after():
    rows = [row(second, 1.0) for second in range(60)]
    rows[30:33] = [row(second, None, BAD) for second in range(30, 33)]
    (kept,) = thin(rows)
    assert seconds(kept) == [0, 29, 30, 31, 32, 33, 59]


def test_an_alarm_stays_whole_with_its_edges():
    rows = [row(second, 20.0 if not 20 <= second < 24 else 30.0) for second in range(60)]
    (kept,) = thin(rows, set_points=LIMITS)
    assert seconds(kept) == [0, 19, 20, 21, 22, 23, 24, 59]
    (other,) = thin(rows)
    assert seconds(other) == [0, 20, 59], "a set-point that nobody told the agent protects nothing but the extreme"


def test_readings_that_came_out_of_order_are_thinned_by_their_time():
    kept = thin([row(5, 5.0), row(3, 3.0)], [row(4, 4.0), row(1, 1.0)])
    assert [seconds(rows) for rows in kept] == [[5], [1]]


readings = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 7_300).map(lambda second: second * SECOND_NS),
        st.floats(-100.0, 100.0),
        st.sampled_from([0, 0, 0, 0, BAD, 1]),
    ),
    min_size=1,
    max_size=80,
    unique_by=lambda one: (one[0], one[1]),
)


@given(readings, st.integers(1, 6), st.sampled_from([1, 60, 600]))
@settings(max_examples=200)
def test_laws_of_thinning(rows, cuts, window_s):
    rows.sort(key=lambda one: one[1])
    size = -(-len(rows) // cuts)
    batches = [rows[at : at + size] for at in range(0, len(rows), size)]
    kept = thin(*batches, window_s=window_s, set_points=LIMITS)
    for before, after in zip(batches, kept, strict=True):
        assert after == [one for one in before if one in after], "nothing is changed, nothing is invented, order stays"
    left = [one for batch in kept for one in batch]
    assert {one for one in rows if one[3] != 0 or LIMITS.get(one[0], SetPoints(None, None)).is_beyond(one[2])} <= set(
        left
    )
    for channel in (1, 2, 3):
        of_channel = [one for one in rows if one[0] == channel]
        of_left = [one for one in left if one[0] == channel]
        assert of_channel[:1] == of_left[:1]
        assert of_channel[-1:] == of_left[-1:]
        for pick in (min, max):
            assert pick((one[2] for one in of_channel), default=None) == pick((one[2] for one in of_left), default=None)
    again = thin(*kept, window_s=window_s, set_points=LIMITS)
    assert sum(map(len, again)) <= sum(map(len, kept))


@given(readings, st.integers(1, 6), st.floats(-100.0, 100.0))
@settings(max_examples=200)
def test_no_excursion_beyond_any_level_vanishes_however_often_a_spool_is_thinned(rows, cuts, level):
    """A set-point that only the platform knows, or that somebody sets next year, finds each hour in which it was
    reached: with the readings that reached farthest, at their own times, on both sides."""
    rows.sort(key=lambda one: one[1])
    size = -(-len(rows) // cuts)
    kept = [rows[at : at + size] for at in range(0, len(rows), size)]
    for window_s in WINDOWS_S:
        kept = thin(*kept, window_s=window_s)
    left = [one for batch in kept for one in batch]
    for channel in (1, 2, 3):
        for window in {one[1] // (WINDOWS_S[-1] * SECOND_NS) for one in rows}:
            before, after = ([one for one in some if _is_in(one, channel, window)] for some in (rows, left))
            assert any(one[2] >= level for one in before) == any(one[2] >= level for one in after)
            assert any(one[2] <= level for one in before) == any(one[2] <= level for one in after)
            for pick in (min, max):
                assert pick((one[2] for one in before), default=0) == pick((one[2] for one in after), default=0)


def _is_in(one: Row, channel: int, window: int) -> bool:
    return one[0] == channel and one[1] // (WINDOWS_S[-1] * SECOND_NS) == window
