"""An answer is not held back for the client's acknowledgement of its first half (Nagle and delayed ACK: 40 ms)."""

from __future__ import annotations

import socket

import pytest

from alarm_service.cli import _listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_accepted_connections_send_at_once(host):
    with _listen(host, 0) as listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
