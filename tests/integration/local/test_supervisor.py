"""Children are started, watched and stopped, and none outlives the process that started it, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignfed.errors import LocalProcessFailed
from coordinator.local.memory import MemoryMeter, proportional_bytes
from coordinator.local.processes import Program, Supervisor, log_tail, python_program
from tests.support.waiting import wait_until

IDLE = "import signal, time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
POLITE = (
    "import signal, sys, time\n"
    "def leave(*_): print('left at', time.monotonic(), flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, leave); print('up', flush=True); time.sleep(600)"
)


def program(folder: Path, name: str, code: str, *, stage: int = 1) -> Program:
    return python_program(name, code, [], stage=stage, log=folder / f"{name}.log")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def started(folder: Path, *names: str) -> None:
    wait_until(lambda: all("up" in log_tail(folder / f"{n}.log") for n in names), what=f"{names} are up")


def test_children_are_gone_when_the_context_ends(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        for name in ("a", "b"):
            supervisor.start(program(tmp_path, name, IDLE))
        started(tmp_path, "a", "b")
        supervisor.check()
        pids = supervisor.pids()
        assert all(is_running(pid) for pid in pids.values())
        assert all(os.getpgid(pid) == pid for pid in pids.values()), "Ctrl-C in the terminal would reach a child"
    assert not any(is_running(pid) for pid in pids.values())


def test_an_error_in_the_context_stops_children_too(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "a", IDLE))
        pids = supervisor.pids()
        raise KeyboardInterrupt
    assert not any(is_running(pid) for pid in pids.values())


def test_what_others_depend_on_is_stopped_last(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "store", POLITE, stage=0))
        supervisor.start(program(tmp_path, "agent", POLITE, stage=2))
        supervisor.start(program(tmp_path, "worker", POLITE, stage=1))
        started(tmp_path, "store", "agent", "worker")

    def left_at(name: str) -> float:
        return float((tmp_path / f"{name}.log").read_text().split()[-1])

    assert left_at("agent") < left_at("worker") < left_at("store")


def test_a_child_that_does_not_listen_is_killed_after_its_grace(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "deaf", DEAF))
        started(tmp_path, "deaf")
        pid = supervisor.pids()["deaf"]
        began = time.monotonic()
        supervisor.stop(["deaf", "unknown"], grace_seconds=0.3)
        assert time.monotonic() - began < 5
        assert not is_running(pid)
        supervisor.check()  # one that was stopped on purpose is no failure


def test_a_child_that_ends_by_itself_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "worker", "print('the reason'); raise SystemExit(3)"))
        wait_until(lambda: not supervisor.pids(), what="the child has ended")
        with pytest.raises(LocalProcessFailed, match=r"worker ended by itself \(exit code 3\)") as caught:
            supervisor.check()
        assert "the reason" in caught.value.message
        assert str(tmp_path / "worker.log") in caught.value.message


def test_a_killed_child_is_reported_by_its_signal(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "worker", IDLE))
        started(tmp_path, "worker")
        os.kill(supervisor.pids()["worker"], signal.SIGKILL)
        wait_until(lambda: not supervisor.pids(), what="the child has ended")
        with pytest.raises(LocalProcessFailed, match="SIGKILL"):
            supervisor.check()


def test_a_program_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(Program(name="ghost", stage=1, arguments=("/does/not/exist",), log=tmp_path / "ghost.log"))
        wait_until(lambda: not supervisor.pids(), what="the child has ended")
        with pytest.raises(LocalProcessFailed, match="No such file"):
            supervisor.check()


def test_children_get_no_settings_by_accident(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALIGNFED_MAX_DELTAS", "1")
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    show = (
        "import os; settings = [name for name in os.environ if name.startswith('ALIGNFED')]\n"
        "print(settings, os.environ['no_proxy'], 'up', flush=True)"
    )
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "agent", show))
        started(tmp_path, "agent")
    shown = (tmp_path / "agent.log").read_text()
    assert shown.startswith("[]")
    assert "127.0.0.1" in shown


def test_nothing_survives_a_kill_of_the_process_that_started_it(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from coordinator.local.processes import Supervisor, python_program\n"
        f"folder, supervisor = Path({str(tmp_path)!r}), Supervisor()\n"
        "for name in ('a', 'b'):\n"
        f"    supervisor.start(python_program(name, {DEAF!r}, [], stage=1, log=folder / f'{{name}}.log'))\n"
        "print(*supervisor.pids().values(), flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        started(tmp_path, "a", "b")
    finally:
        parent.kill()
        parent.communicate()
    wait_until(lambda: not any(is_running(pid) for pid in pids), what="the children are gone")


def test_memory_is_measured_over_all_processes(tmp_path: Path) -> None:
    hungry = (
        "import time; block = bytearray(200 << 20); block[::4096] = b'x' * len(block[::4096])\n"
        "print('up', flush=True); time.sleep(600)"
    )
    own = proportional_bytes(os.getpid())
    assert own > 1 << 20
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, "hungry", hungry))
        started(tmp_path, "hungry")
        with MemoryMeter(lambda: supervisor.pids().values()) as meter:
            wait_until(lambda: meter.peak_bytes > 0, what="memory is sampled")
        assert meter.peak_bytes > 200 << 20
    assert proportional_bytes(2**22 + 1) == 0
