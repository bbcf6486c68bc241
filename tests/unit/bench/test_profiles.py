"""Profiles are of the processes that are measured, and only when they are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from alignfed.errors import RequestInvalid
from bench.speed import profiles
from bench.speed.profiles import profiled, profiles_in

LOOP = "def busy_loop():\n while True: sum(range(1000))\nprint('up', flush=True)\nbusy_loop()"


def may_look_into_others() -> bool:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text("ascii").strip() == "0"


@pytest.mark.skipif(not may_look_into_others(), reason="the kernel lets nobody but root look into a process")
def test_a_process_is_profiled_while_the_block_runs(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            with profiles_in(tmp_path / "profiles"), profiled("server", process.pid):
                time.sleep(1.0)
            (file,) = (tmp_path / "profiles").iterdir()
            frames = json.loads(file.read_text("utf-8"))["shared"]["frames"]
            assert "busy_loop" in {frame["name"] for frame in frames}
        finally:
            process.kill()


def test_nothing_is_profiled_unless_it_is_asked_for() -> None:
    with profiled("server", os.getpid()):
        pass


def test_a_machine_without_py_spy_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(profiles.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(profiles.shutil, "which", lambda _name: None)
    with pytest.raises(RequestInvalid, match="pip install py-spy"), profiles_in(tmp_path):
        pass
