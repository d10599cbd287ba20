"""Simulated serial instruments: what they answer is what the published frames of real ones look like."""

from __future__ import annotations

import pytest

from simulators.serial_instrument import (
    INSTRUMENTS,
    Davis,
    Nmea,
    Plantower,
    Sds011,
    Sps30,
    Vaisala,
    crc_ccitt,
    sdi12_check,
)


def test_the_checks_are_those_that_their_makers_print():
    assert sdi12_check("0r1") == "Goe"
    assert sdi12_check("0r0") == "Kld"
    assert sdi12_check("0+3.14") == "OqZ"
    assert crc_ccitt(bytes.fromhex("C6 CE A2 03")) == 0xE2B4


def test_plantower_is_active_until_it_is_made_passive_and_then_answers():
    sensor = Plantower()
    first = sensor.step(b"", 0.0)
    assert (first[:4].hex(), len(first)) == ("424d001c", 32)
    assert sensor.step(b"", 0.5) == b""
    assert sensor.step(bytes.fromhex("424de100000170"), 0.6).hex() == "424d0004e1000174"
    assert sensor.step(b"", 60.0) == b""
    assert len(sensor.step(b"\x00" + bytes.fromhex("424de200000171"), 61.0)) == 32, "garbage before it does not matter"
    assert sensor.step(bytes.fromhex("424de200000172"), 62.0) == b"", "a wrong sum"


def test_sds011_sends_each_second_and_answers_a_question():
    sensor = Sds011(values={"pm2_5": 60.3, "pm10": 85.0})
    frame = sensor.step(b"", 0.0)
    assert frame.hex() == "aac05b025203a160b3ab"
    question = bytes.fromhex("AA B4 04 00 00 00 00 00 00 00 00 00 00 00 00 FF FF 02 AB")
    assert sensor.step(question, 0.1) == frame


def test_sps30_must_measure_and_has_a_value_a_second_and_stuffs_its_bytes():
    sensor = Sps30(values={"pm1": 17.0, "pm2_5": 17.0, "pm4": 17.0, "pm10": 17.0}, is_measuring=False)
    read = bytes.fromhex("7E 00 03 00 FC 7E")
    assert sensor.step(read, 0.0).hex() == "7e00034300b97e"
    assert sensor.step(bytes.fromhex("7E 00 00 02 01 03 F9 7E"), 1.0).hex() == "7e00000000ff7e"
    full = sensor.step(read, 2.0)
    assert full.startswith(bytes.fromhex("7E 00 03 00 28"))
    assert b"\x11" not in full
    assert full[1:-1].count(0x7E) == 0
    assert sensor.step(read, 2.5).hex() == "7e00030000fc7e", "nothing new"
    assert sensor.step(bytes.fromhex("7E 00 01 00 FE 7E"), 3.0).hex() == "7e00010000fe7e"


def test_a_vaisala_answers_with_a_check_if_it_is_asked_with_one():
    sensor = Vaisala()
    plain = sensor.step(b"0R0\r\n", 0.0).decode()
    assert plain.startswith("0R0,Dm=236D,Sm=3.2M,Ta=21.5C")
    checked = sensor.step(b"0r0Kld\r\n", 1.0).decode().rstrip()
    assert checked[-3:] == sdi12_check(checked[:-3])
    assert sensor.step(b"0r0Kle\r\n1R0\r\n", 2.0) == b"", "a wrong check; another address"


def test_nmea_sentences_have_their_xor_check():
    for line in Nmea().step(b"", 0.0).decode().splitlines():
        body, check = line[1:].split("*")
        total = 0
        for octet in body.encode():
            total ^= octet
        assert int(check, 16) == total


def test_a_davis_console_sleeps_until_it_is_woken_and_then_sends_ack_and_packet():
    console = Davis()
    assert console.step(b"LOOP 1\n", 0.0) == b"\n\r", "it only wakes"
    packet = console.step(b"LOOP 1\n", 1.0)
    assert packet[:5] == b"\x06LOO\x00"
    assert len(packet) == 100
    assert crc_ccitt(packet[1:]) == 0
    assert console.step(b"LAMPS 2\n", 2.0) == b"\x21"
    assert console.step(b"LOOP 1\n", 500.0) == b"\n\r"


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_garbage_is_survived(name):
    instrument = INSTRUMENTS[name]()
    for second in range(50):
        instrument.step(bytes(range(256)), float(second))
    assert instrument.values == INSTRUMENTS[name]().values
