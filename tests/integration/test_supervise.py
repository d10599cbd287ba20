"""The supervisor with real processes: start order, restart, stop, and nothing left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy import prepare_run, supervise
from deploy.errors import DirectoryInUseError, StartError
from deploy.layout import RunDirectory
from deploy.plan import Exists, Program
from deploy.supervise import Supervisor

DEADLINE_S = 15.0
PYTHON = sys.executable


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory(str(tmp_path / "run"))
    with prepare_run.held(run):
        prepare_run.make_folders(run)
        yield run


def service(name: str, body: str = "", after: tuple[str, ...] = ()) -> Program:
    """A program that notes its start as a file, then waits for a signal."""
    text = f"import pathlib, signal, sys, time, os\n{body}\npathlib.Path('{name}.up').write_text('1')\nsignal.pause()"
    return Program(name, (PYTHON, "-S", "-c", text), after=after, ready=(Exists(f"{name}.up"),))


def at(run: RunDirectory, *programs: Program) -> tuple[Program, ...]:
    """With the paths of readiness in the run directory."""
    return tuple(
        Program(one.name, one.argv, one.after, tuple(Exists(f"{run.root}/{ready.path}") for ready in one.ready))  # type: ignore[union-attr]
        for one in programs
    )


async def until(what: str, check: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not check():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        await asyncio.sleep(0.02)


def read_pid(run: RunDirectory, file_name: str) -> int:
    return int(Path(run.root, file_name).read_text())


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_program_starts_after_what_it_waits_for_is_ready(run: RunDirectory) -> None:
    async def scenario() -> None:
        first = service("first", "time.sleep(0.3)")
        second = service("second", "assert pathlib.Path('first.up').exists()", ("first",))
        supervisor = Supervisor(run, print)
        await supervisor.start(at(run, first, second))
        assert set(supervisor.pids()) == {"first", "second"}
        await supervisor.stop()
        assert not any(map(is_alive, supervisor.pids().values()))

    asyncio.run(scenario())


def test_a_program_that_fails_is_named_with_its_exit_code_and_the_end_of_its_log(run: RunDirectory) -> None:
    async def scenario() -> None:
        body = "print('\\n'.join(f'line {n}' for n in range(100)), flush=True); sys.exit(3)"
        supervisor = Supervisor(run, print)
        with pytest.raises(StartError) as caught:
            await supervisor.start(at(run, service("good"), service("faulty", body)))
        await supervisor.stop()
        assert caught.value.name == "faulty"
        text = str(caught.value)
        assert "ended with exit code 3" in text
        assert "    line 99" in text
        assert "line 79" not in text
        assert not any(map(is_alive, supervisor.pids().values()))

    asyncio.run(scenario())


def test_a_program_that_does_not_exist_is_named(run: RunDirectory) -> None:
    async def scenario() -> None:
        with pytest.raises(StartError, match="/no/such/program: No such file or directory"):
            await Supervisor(run, print).start([Program("ghost", ("/no/such/program",), ready=(Exists("/nowhere"),))])

    asyncio.run(scenario())


def test_a_program_that_never_gets_ready_is_named(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "START_PATIENCE_S", 0.5)

    async def scenario() -> None:
        supervisor = Supervisor(run, print)
        program = Program("slow", (PYTHON, "-S", "-c", "import signal; signal.pause()"), ready=(Exists("/nowhere"),))
        with pytest.raises(StartError, match="slow was not ready within"):
            await supervisor.start([program])
        await supervisor.stop()
        assert not is_alive(supervisor.pids()["slow"])

    asyncio.run(scenario())


def test_a_service_that_dies_is_started_again_and_that_is_said(run: RunDirectory) -> None:
    async def scenario() -> None:
        said: list[str] = []
        supervisor = Supervisor(run, said.append)
        await supervisor.start(at(run, service("mortal")))
        first = supervisor.pids()["mortal"]
        os.kill(first, signal.SIGKILL)
        await until("a new process", lambda: supervisor.pids()["mortal"] != first)
        await until("it is said", lambda: len(said) == 2)
        assert said[0].startswith("mortal was killed by SIGKILL; it starts again in 0.5 s")
        assert said[1] == f"mortal runs again, pid {supervisor.pids()['mortal']}"
        await supervisor.stop()
        assert not any(map(is_alive, supervisor.pids().values()))

    asyncio.run(scenario())


def test_a_program_deaf_to_sigterm_is_killed_with_its_children_within_5_s(run: RunDirectory) -> None:
    async def scenario() -> None:
        body = (
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "child = os.fork()\n"
            "if not child: signal.pause()\n"
            "pathlib.Path('child.pid').write_text(str(child))\n"
        )
        supervisor = Supervisor(run, print)
        await supervisor.start(at(run, service("polite"), service("deaf", body)))
        child = read_pid(run, "child.pid")
        began = time.monotonic()
        await supervisor.stop()
        assert time.monotonic() - began < 5.0
        await until("the child is gone", lambda: not is_alive(child))
        assert not any(map(is_alive, supervisor.pids().values()))

    asyncio.run(scenario())


def test_nothing_outlives_a_supervisor_that_is_killed(run: RunDirectory) -> None:
    text = f"""
        import asyncio
        from deploy.layout import RunDirectory
        from deploy.plan import Exists, Program
        from deploy.supervise import Supervisor

        async def main():
            supervisor = Supervisor(RunDirectory({run.root!r}), print)
            argv = ({PYTHON!r}, "-S", "-c", "import signal, pathlib; pathlib.Path('x.up').touch(); signal.pause()")
            await supervisor.start([Program("x", argv, ready=(Exists({run.root + "/x.up"!r}),))])
            print(supervisor.pids()["x"], flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """
    process = subprocess.Popen([PYTHON, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert is_alive(child)
    process.kill()
    process.wait(DEADLINE_S)
    process.stdout.close()
    asyncio.run(until("the child is gone", lambda: not is_alive(child)))


def test_a_run_directory_has_one_supervisor(run: RunDirectory) -> None:
    with (
        pytest.raises(DirectoryInUseError, match=f"in use by the supervisor with pid {os.getpid()}"),
        prepare_run.held(run),
    ):
        pytest.fail("held twice")


def test_a_fresh_run_moves_what_was_there_aside_and_keeps_its_lock(run: RunDirectory) -> None:
    Path(run.data("alarms.sqlite")).write_text("kept")
    moved_to = prepare_run.move_away(run)
    assert moved_to is not None
    assert Path(moved_to, "data/alarms.sqlite").read_text() == "kept"
    assert [path.name for path in Path(run.root).iterdir()] == ["lock"]
    assert prepare_run.move_away(run) is None


def test_a_secret_is_made_once_and_for_its_owner_only(run: RunDirectory) -> None:
    first = prepare_run.read_or_make_secret(run.token("console"))
    assert prepare_run.read_or_make_secret(run.token("console")) == first
    assert prepare_run.read_or_make_secret(run.token("viewer")) != first
    assert len(first) >= 43
    assert Path(run.token("console")).stat().st_mode & 0o777 == 0o600


def test_the_log_of_the_run_before_is_kept(run: RunDirectory) -> None:
    Path(run.log("console")).write_text("before")
    prepare_run.make_folders(run)
    assert Path(run.log("console") + ".1").read_text() == "before"
