"""The control socket: one JSON object a line in, one JSON object a line out. A shell.

    {"request": {"command": "fault", "order": {"kind": "no_answer", "node": "gas-pier-03", "for_s": 10}}}
    {"ok": true, "from_ns": …, "until_ns": …}          or          {"ok": false, "errors": ["…"]}

Only the simulator's own user may write to the socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from contracts.configuration import check_settings
from contracts.errors import ConfigurationError
from simulators.errors import OrderError
from simulators.field import AnyCommand, JsonObject
from simulators.order import Command

_logger = logging.getLogger(__name__)
_ANSWER_TIMEOUT_S = 10.0


class ControlServer:
    """The socket of a running field."""

    def __init__(self, path: Path, execute: Callable[[AnyCommand], JsonObject]) -> None:
        self._path = path
        self._execute = execute
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        """Listens, in place of a socket that a killed simulator left behind."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.is_socket():
            self._path.unlink()
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stops listening and removes the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for writer in tuple(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                writer.write(json.dumps(self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:  # ValueError: a line beyond the reader's limit
            _logger.warning("control_connection_lost error=%r", str(error))
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, line: bytes) -> JsonObject:
        try:
            command = check_settings(Command, json.loads(line), "control").request
            answer = self._execute(command)
        except json.JSONDecodeError as error:
            return {"ok": False, "errors": [f"not JSON: {error}"]}
        except ConfigurationError as error:
            return {"ok": False, "errors": [str(fault) for fault in error.faults]}
        except OrderError as error:
            return {"ok": False, "errors": [str(error)]}
        _logger.info("ordered %s", line.decode(errors="replace").strip())
        return {"ok": True, **answer}


def send_command(path: Path, command: JsonObject) -> JsonObject:
    """Sends one command to a running simulator and returns its answer.

    Raises:
        OrderError: nobody listens at `path`, or the simulator refused; its reasons, one a line.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_TIMEOUT_S)
            connection.connect(str(path))
            connection.sendall(json.dumps({"request": command}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer: JsonObject = json.loads(answers.readline() or b"{}")
    except OSError as error:
        raise OrderError(f"{path}: no simulator answers: {error}") from error
    if not answer.pop("ok", False):
        errors = answer.get("errors")
        raise OrderError("\n".join(map(str, errors)) if isinstance(errors, list) else "the simulator hung up")
    return answer
