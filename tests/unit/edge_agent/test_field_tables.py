"""What a field engineer sees: word orders, what a scan tries and finds, the live table."""

import pytest

from contracts.quality import Reason
from edge_agent.commands.scan_plan import describe_found, is_device, is_noise, line_settings, parse_device_ids
from edge_agent.commands.watch_table import WatchRow, draw_table
from edge_agent.modbus.word_order_table import describe_word_orders
from edge_agent.settings.profile import RegisterChannel


def test_a_channel_shows_in_all_four_word_orders_and_which_are_plausible():
    channel = RegisterChannel(quantity="temperature", address=5, type="f32", word_order="CDAB")
    lines = describe_word_orders(channel, channel.field(0), [0x0102, 0x41AC], None)
    assert "f32 at address 5, function code 3: 0102 41AC" in lines[0]
    shown = {line.split()[0]: line for line in lines[1:]}
    assert list(shown) == ["ABCD", "CDAB", "BADC", "DCBA"]
    assert "21.5005 °C" in shown["CDAB"]
    assert "plausible" in shown["CDAB"]
    assert shown["CDAB"].endswith("<- profile")
    assert "too small" in shown["DCBA"]
    assert "too small" in shown["ABCD"]
    assert sum("<- profile" in line for line in lines) == 1


def test_the_nodes_calibration_is_applied_in_every_order():
    channel = RegisterChannel(quantity="temperature", address=5, type="f32")
    lines = describe_word_orders(channel, channel.field(0), [0x41AC, 0x0000], lambda raw: raw + 100.0)
    assert "121.5 °C" in lines[1]


@pytest.mark.parametrize(("text", "ids"), [("1-3,31", [1, 2, 3, 31]), ("7", [7]), ("5,5,4-6", [5, 4, 6])])
def test_device_ids_are_lists_of_ids_and_ranges(text, ids):
    assert parse_device_ids(text) == ids


@pytest.mark.parametrize("text", ["", "0", "248", "5-3", "1-999", "a", "1-", "-4"])
def test_what_is_no_device_id_is_refused_with_its_text(text):
    with pytest.raises(ValueError, match=repr(text)):
        parse_device_ids(text)


def test_a_scan_tries_all_speeds_without_parity_first():
    settings = list(line_settings([9600, 19200], ["N", "E"]))
    assert [str(one) for one in settings] == ["9600 8N1", "19200 8N1", "9600 8E1", "19200 8E1"]


def test_an_exception_is_a_device_too_and_a_broken_frame_is_a_hint():
    assert is_device([7])
    assert is_device(Reason.MODBUS_ILLEGAL_ADDRESS)
    assert not is_device(Reason.NO_ANSWER)
    assert not is_device(Reason.MODBUS_GATEWAY_UNAVAILABLE)
    assert is_noise(Reason.CRC_ERROR)
    assert not is_noise(Reason.NO_ANSWER)
    assert "no such register" in describe_found("/dev/ttyS0 9600 8N1", 4, Reason.MODBUS_ILLEGAL_ADDRESS)
    assert describe_found("/dev/ttyS0 9600 8N1", 4, [7]).endswith("= 7")


ROWS = [
    WatchRow("gas/n1", "methane_lel", 1.25, Reason.OK, 0.4, 0.6),
    WatchRow("gas/n2", "methane_lel", None, Reason.NO_ANSWER, 12.0, 240.0),
    WatchRow("gas/n3", "methane_lel", None, None, None, 0.1),
]


def test_the_live_table_shows_value_quality_age_and_next_poll_with_what_is_bad_first():
    lines = draw_table(ROWS, 100, 24)
    assert lines[0].split() == ["channel", "value", "quality", "age", "next"]
    assert lines[1].split() == ["gas/n2", "methane_lel", "—", "no_answer", "12.0", "s", "4", "min"]
    assert lines[2].split()[:5] == ["gas/n3", "methane_lel", "—", "not", "read"]
    assert lines[3].split() == ["gas/n1", "methane_lel", "1.2", "%LEL", "good", "0.4", "s", "0.6", "s"]
    assert lines[4] == "1 of 3 channels good"


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 5), (20, 4), (10, 3)])
def test_the_live_table_fits_every_terminal(width, height):
    lines = draw_table(ROWS * 100, width, height)
    assert len(lines) <= max(height, 4)
    assert all(len(line) <= width for line in lines)


def test_rows_that_have_no_room_are_counted():
    lines = draw_table(ROWS * 100, 80, 10)
    assert lines[-2].startswith("… 293 more, ")
    assert "not good" in lines[-2]
