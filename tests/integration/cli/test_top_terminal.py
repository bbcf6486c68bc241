"""`alignfed top` on a pseudo-terminal: real keys, a resize, a coordinator that goes away and comes back."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignfed.plan import FederationPlan
from tests.support.live_coordinator import LiveCoordinator
from tests.support.stores import new_agent, publish
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

_PROGRAM = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C and a resize are heard of
from coordinator.cli.main import main
main()
"""
_FRAME = b"\x1b[H"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
_ALTERNATE, _NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"
SECONDS = 60.0
"""Starting Python with grpc and rich takes a second on an idle machine, many on a busy one."""


class Terminal:
    """A pseudo-terminal with `alignfed top` in it, read by a thread until the program ends."""

    def __init__(self, *arguments: str, rows: int = 24, columns: int = 80, before: str = "") -> None:
        self.main, child = pty.openpty()
        self.resize(rows, columns)
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("COLUMNS", None)
        environment.pop("LINES", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", before + _PROGRAM, "top", *arguments],
            stdin=child, stdout=child, stderr=child, env=environment, start_new_session=True,
        )  # fmt: skip
        os.close(child)
        self.output = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: str) -> None:
        os.write(self.main, keys.encode())

    @property
    def screen(self) -> list[str]:
        """The lines of the last whole frame."""
        frames = self.output.split(_FRAME)
        last = frames[-2].decode("utf-8", "replace") if len(frames) > 2 else ""
        return [line.rstrip() for line in _CONTROL.sub("", last).replace("\r", "").split("\n")]

    def wait_for(self, text: str) -> None:
        def shown() -> bool:
            assert self.process.poll() is None or any(text in line for line in self.screen), self.output.decode()
            return any(text in line for line in self.screen)

        wait_until(shown, what=f"{text!r} is on the screen", timeout_seconds=SECONDS)

    def end(self) -> int:
        code = self.process.wait(SECONDS)
        self._reader.join(SECONDS)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(SECONDS)
        os.close(self.main)

    def _read(self) -> None:
        while True:
            try:
                received = os.read(self.main, 65536)
            except OSError:  # the other side is closed: the program has ended
                return
            if not received:
                return
            self.output += received


@pytest.fixture
def coordinator(tiny_model_dir: Path) -> Iterator[LiveCoordinator]:
    with LiveCoordinator() as live:
        live.start()
        for name in ("first-fed", "second-fed"):
            plan: FederationPlan = tiny_plan(tiny_model_dir, federation=name)
            live.create(plan, fresh_adapter(plan))
            for index in range(30):
                agent = new_agent(f"agent-{index:02}", registered_at=time.time())
                live.run(live.store.agents.register(name, agent))
        yield live


@pytest.fixture
def opened() -> Iterator[list[Terminal]]:
    terminals: list[Terminal] = []
    yield terminals
    for terminal in terminals:
        terminal.close()


def test_q_ends_it_after_it_has_followed_a_merge_keys_a_resize_and_a_restart(
    coordinator: LiveCoordinator, opened: list[Terminal]
) -> None:
    address = coordinator.operator_address
    terminal = Terminal("--operator", address, "--interval", "0.2")
    opened.append(terminal)
    terminal.wait_for("first-fed  version 0")
    assert len(terminal.screen) <= 24
    assert max(map(len, terminal.screen)) <= 80
    assert any("more of 30 agents, by weight share" in line for line in terminal.screen)

    coordinator.run(publish(coordinator.store, "first-fed", agent_id="agent-07"))
    terminal.wait_for("first-fed  version 1")

    terminal.press("s")
    terminal.wait_for("agents, by last seen")
    terminal.press("n")
    terminal.wait_for("second-fed  version 0")

    terminal.resize(50, 170)
    wait_until(
        lambda: any("agent" in line and "published" in line for line in terminal.screen),
        what="fleet and versions are side by side",
        timeout_seconds=SECONDS,
    )
    assert sum("agent-" in line for line in terminal.screen) == 30

    port = int(address.rpartition(":")[2])
    coordinator.stop()
    terminal.wait_for("lost connection since")
    assert any("second-fed  version 0" in line for line in terminal.screen), "what was seen last stays"
    coordinator.run(publish(coordinator.store, "second-fed", agent_id="agent-07"))
    coordinator.start(operator_listen=f"127.0.0.1:{port}")
    terminal.wait_for("second-fed  version 1")
    wait_until(lambda: "lost" not in "".join(terminal.screen), what="the trouble is over", timeout_seconds=SECONDS)

    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.output.count(_ALTERNATE) == terminal.output.count(_NORMAL) == 1, "the terminal is left as it was"


@pytest.mark.parametrize("way", ["ctrl-c", "sigterm"])
def test_ctrl_c_and_sigterm_leave_the_terminal_as_it_was(
    coordinator: LiveCoordinator, opened: list[Terminal], way: str
) -> None:
    terminal = Terminal("--operator", coordinator.operator_address)
    opened.append(terminal)
    terminal.wait_for("first-fed  version 0")
    if way == "ctrl-c":
        terminal.press("\x03")
    else:
        terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 0
    assert terminal.output.count(_ALTERNATE) == terminal.output.count(_NORMAL) == 1
    assert b"Traceback" not in terminal.output


def test_a_wrong_address_is_told_at_once(opened: list[Terminal]) -> None:
    terminal = Terminal("--operator", "127.0.0.1:1")
    opened.append(terminal)
    assert terminal.end() == 1
    assert b"no coordinator answers" in terminal.output
    assert _ALTERNATE not in terminal.output


def test_without_rich_it_says_what_to_install(coordinator: LiveCoordinator, opened: list[Terminal]) -> None:
    terminal = Terminal("--operator", coordinator.operator_address, before="import sys; sys.modules['rich'] = None\n")
    opened.append(terminal)
    assert terminal.end() == 2
    assert b"pip install 'alignfed[local]'" in terminal.output
