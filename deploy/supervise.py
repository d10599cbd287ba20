"""Runs a plan: starts each program when what it waits for is ready, starts it again when it dies, stops all (a shell).

Every program gets its own session, so that Ctrl-C reaches only the supervisor, and a tether, so that it dies with the
supervisor. Its output goes to its log.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from deploy import tether
from deploy.errors import StartError
from deploy.layout import RunDirectory
from deploy.plan import Program, check_order, stop_waves
from deploy.probe import is_ready
from deploy.restart_policy import next_delay_s

START_PATIENCE_S: Final = 30.0
PROBE_INTERVAL_S: Final = 0.05
STOP_PATIENCE_S: Final = 4.0
"""From the first SIGTERM to SIGKILL for all that is left."""
WAVE_PATIENCE_S: Final = 1.5
"""A wave that has not ended by then no longer holds up the next one."""
LOG_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 16_384


@dataclass(slots=True)
class Running:
    """A program's present process."""

    process: asyncio.subprocess.Process
    since_s: float
    """time.monotonic()"""


class Supervisor:
    """The processes of one run."""

    def __init__(self, run: RunDirectory, say: Callable[[str], None]) -> None:
        self._run = run
        self._say = say
        self._programs: dict[str, Program] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._running: dict[str, Running] = {}
        self._watchers: list[asyncio.Task[None]] = []
        self._is_stopping = False

    async def run_task(self, program: Program) -> str:
        """Runs a task to its end and returns what it printed. Raises StartError unless it ended with 0."""
        process = await self._spawn(program, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                printed, _ = await process.communicate()
        except TimeoutError:
            raise self._start_error(program, f"did not end within {START_PATIENCE_S:.0f} s") from None
        finally:
            if process.returncode is None:
                _kill_group(process.pid)
        if process.returncode != 0:
            raise self._start_error(program, _ending(process.returncode))
        return printed.decode()

    async def start(self, programs: Sequence[Program]) -> None:
        """Starts a plan, or more of it; returns when every program is ready.

        Raises StartError for the first that is not.
        """
        check_order([*self._programs.values(), *programs])
        self._programs |= {program.name: program for program in programs}
        self._ready |= {program.name: asyncio.Event() for program in programs}
        try:
            async with asyncio.TaskGroup() as group:
                for program in programs:
                    group.create_task(self._bring_up(program))
        except* StartError as failures:
            raise failures.exceptions[0] from None

    async def stop(self) -> None:
        """Ends every program: its stop signal in waves, SIGKILL after STOP_PATIENCE_S. Returns when none is left."""
        self._is_stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        deadline_s = time.monotonic() + STOP_PATIENCE_S
        for wave in stop_waves(list(self._programs.values())):
            names = [name for name in wave if name in self._running]
            for name in names:
                _signal(self._running[name].process, signal.Signals(self._programs[name].stop_signal))
            processes = [self._running[name].process for name in names]
            await _wait_for(processes, min(WAVE_PATIENCE_S, deadline_s - time.monotonic()))
        processes = [running.process for running in self._running.values()]
        await _wait_for(processes, deadline_s - time.monotonic())
        self.kill()
        await _wait_for(processes, 1.0)
        self._write_state()

    def restart(self, name: str) -> None:
        """SIGKILL for a service that runs and does not work; it starts again like one that died."""
        _kill_group(self._running[name].process.pid)

    def kill(self) -> None:
        """SIGKILL for everything that is left, at once, with whatever it started."""
        for running in self._running.values():
            _kill_group(running.process.pid)

    async def _bring_up(self, program: Program) -> None:
        for name in program.after:
            await self._ready[name].wait()
        if program.is_task:
            await self.run_task(program)
        else:
            await self._start_service(program)
            self._watchers.append(asyncio.create_task(self._watch(program)))
        self._ready[program.name].set()

    async def _start_service(self, program: Program) -> None:
        process = await self._spawn_service(program)
        deadline_s = time.monotonic() + START_PATIENCE_S
        while True:
            is_all_ready = all([await is_ready(readiness) for readiness in program.ready])
            if process.returncode is not None:
                raise self._start_error(program, _ending(process.returncode))
            if is_all_ready:
                return
            if time.monotonic() > deadline_s:
                raise self._start_error(program, f"was not ready within {START_PATIENCE_S:.0f} s")
            await asyncio.sleep(PROBE_INTERVAL_S)

    async def _watch(self, program: Program) -> None:
        """Starts a service again whenever it dies."""
        delay_s: float | None = None
        while True:
            running = self._running[program.name]
            code = await running.process.wait()
            if self._is_stopping:
                return
            delay_s = next_delay_s(delay_s, time.monotonic() - running.since_s)
            self._say(
                f"{program.name} {_ending(code)}; it starts again in {delay_s:g} s ({self._run.log(program.name)})"
            )
            await asyncio.sleep(delay_s)
            process = await self._spawn_service(program)
            self._say(f"{program.name} runs again, pid {process.pid}")

    async def _spawn_service(self, program: Program) -> asyncio.subprocess.Process:
        process = await self._spawn(program, None)
        self._running[program.name] = Running(process, time.monotonic())
        self._write_state()
        return process

    async def _spawn(self, program: Program, stdout: int | None) -> asyncio.subprocess.Process:
        with self._open_log(program.name) as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *program.argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                cwd=program.folder or self._run.root,
                env=_environment(),
                start_new_session=True,
            )

    @contextlib.contextmanager
    def _open_log(self, name: str) -> Iterator[IO[bytes]]:
        with Path(self._run.log(name)).open("ab") as log:
            yield log

    def _start_error(self, program: Program, reason: str) -> StartError:
        path = self._run.log(program.name)
        return StartError(program.name, reason, path, _read_tail(Path(path)))

    def _write_state(self) -> None:
        rows = [
            {
                "name": name,
                "pid": running.process.pid,
                "is_running": running.process.returncode is None,
                "address": self._programs[name].address,
                "log": self._run.log(name),
            }
            for name, running in self._running.items()
        ]
        state = {"supervisor_pid": os.getpid(), "programs": rows}
        unfinished = Path(f"{self._run.state}.unfinished")
        unfinished.write_text(json.dumps(state, indent=1))
        unfinished.replace(self._run.state)

    def age_s(self, name: str) -> float:
        """How long a service has been running."""
        return time.monotonic() - self._running[name].since_s

    def pids(self) -> dict[str, int]:
        """Process ids of the services, by name."""
        return {name: running.process.pid for name, running in self._running.items()}


def _environment() -> dict[str, str]:
    """Ours, and where the packages are: a program must start whether citysense is installed or only checked out."""
    packages = str(Path(__file__).resolve().parents[1])
    return {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": packages}


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _read_tail(path: Path) -> str:
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


async def _wait_for(processes: Sequence[asyncio.subprocess.Process], patience_s: float) -> None:
    waiting = [asyncio.create_task(process.wait()) for process in processes if process.returncode is None]
    if waiting:
        _, late = await asyncio.wait(waiting, timeout=max(0.0, patience_s))
        for task in late:
            task.cancel()
