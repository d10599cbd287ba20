"""A real PostgreSQL of its own for a test: started as `make stack` starts it, killed at the end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from deploy.layout import RunDirectory
from deploy.stack import prepare_servers, recipe
from deploy.stack.addresses import POSTGRESQL
from deploy.stack.find_servers import find_servers

DEADLINE_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RunningPostgresql:
    """One server with its data in a folder; it can be killed and started again on the same port."""

    def __init__(self, folder: Path) -> None:
        self._run = RunDirectory(str(folder))
        for name in ("config", "data", "log", "secrets"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._ports = {POSTGRESQL: free_port()}
        self._made: set[str] = set()
        self.address = f"127.0.0.1:{self._ports[POSTGRESQL]}"
        self.password_file = Path(recipe.secret_file(self._run, POSTGRESQL))
        self._log = folder / "log/postgresql.log"
        prepare_servers.prepare_postgresql(self._run, self._ports)
        self._found = find_servers([POSTGRESQL], print, may_make=False)

    def start(self) -> None:
        """Makes the data directory the first time, starts, waits until it answers."""
        facts = prepare_servers.read_facts(self._run)
        *tasks, server = recipe.plan_servers(self._run, self._ports, self._found, facts)
        for task in tasks:
            subprocess.run(task.argv, check=True, capture_output=True, timeout=DEADLINE_S, cwd="/")
        self._server = server
        self._launch()
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.execute("SELECT 1", database="postgres")
            except psycopg.OperationalError:
                assert time.monotonic() < deadline_s, f"PostgreSQL is not ready: {self._log.read_text()[-2_000:]}"
                time.sleep(0.05)
                if self._process.poll() is not None:  # children of a killed one still had its memory
                    self._launch()
            else:
                return

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._server.argv, stdout=log, stderr=log, cwd="/")

    def url(self, database: str) -> str:
        return f"postgresql://{recipe.DATABASE_USER}@{self.address}/{database}"

    def connect(self, database: str) -> psycopg.Connection[Any]:
        """A client that is none of ours, with autocommit."""
        return psycopg.connect(
            self.url(database), password=self.password_file.read_text(), autocommit=True, connect_timeout=5
        )

    def execute(self, statement: LiteralString, database: str) -> list[tuple[Any, ...]]:
        with self.connect(database) as client:
            cursor = client.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def make_database(self, name: str) -> str:
        """Its URL."""
        self.execute(f'CREATE DATABASE "{name}"', database="postgres")  # type: ignore[arg-type]  # a name of the test
        return self.url(name)

    def empty_database(self, name: str) -> str:
        """Makes it, or clears it, which is quicker than another one. Its URL."""
        if name not in self._made:
            self._made.add(name)
            return self.make_database(name)
        self.execute("DROP SCHEMA public CASCADE", database=name)
        self.execute("CREATE SCHEMA public", database=name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)', database="postgres")  # type: ignore[arg-type]

    def kill(self) -> None:
        """-9 of the server; its children see that and end at once. Nothing is flushed."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGQUIT: it ends at once with its children (a kill would leave shared memory behind)."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(DEADLINE_S)


@contextlib.contextmanager
def running_postgresql() -> Iterator[RunningPostgresql]:
    """Starts a PostgreSQL in a folder that its own user may enter too (pytest's are closed to it)."""
    with tempfile.TemporaryDirectory(prefix="citysense-postgresql-", ignore_cleanup_errors=True) as path:
        Path(path).chmod(0o711)
        server = RunningPostgresql(Path(path, "run"))
        server.start()
        try:
            yield server
        finally:
            server.stop()
