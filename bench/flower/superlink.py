"""Flower at work on loopback: a real SuperLink and ServerApp, and clients made of its own code, all told what to do."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from alignfed.errors import LocalProcessFailed
from bench.flower.installed import Flower
from bench.flower.processor import Meter
from bench.flower.switchboard import LOOK_SECONDS, Peer, Switchboard
from bench.speed.started import START_SECONDS
from coordinator.local.cluster import free_ports
from coordinator.local.processes import Program, Supervisor

RUN_SECONDS = 120.0
LEAVE_SECONDS = 10.0
SERVER_APP = "server-app"
SUPERLINK = "superlink"
_THEIRS = Path(__file__).with_name("theirs")
_LINES = Path(__file__).with_name("lines.py")
_CONNECTION = "bench"
_SETTINGS = '[superlink]\ndefault = "{name}"\n[superlink.{name}]\naddress = "{address}"\ninsecure = true\n'


class FlowerRun:
    """One run of Flower: `app` is its ServerApp, `nodes` its clients, `meter` reads their processor time.

    Args:
        stack: Ends everything.
        supervisor: Runs the processes.
        folder: For logs and all that Flower keeps.
        flower: Where it is installed.
        clients: How many.

    Raises:
        LocalProcessFailed: A part does not get ready.
    """

    def __init__(self, stack: ExitStack, supervisor: Supervisor, folder: Path, flower: Flower, clients: int) -> None:
        self._supervisor = supervisor
        self._folder = folder
        self._home = folder / "home"
        self._flower = flower
        address = f"127.0.0.1:{free_ports(1)[0]}"
        app, self._node_file = _lay_out(folder, address)
        self._start(stack, SUPERLINK, self._superlink(address), stage=1)
        self._wait_for(address)
        switchboard = stack.enter_context(Switchboard())
        self._run(app, switchboard.port)
        self.app = switchboard.peer(SERVER_APP, supervisor.check)
        stack.callback(_leave, self.app)
        self.nodes = [self._node(stack, number, switchboard, address) for number in range(clients)]
        pids = {peer.name: int(peer.about["pid"]) for peer in (self.app, *self.nodes)}
        self.meter = Meter({**pids, SUPERLINK: supervisor.pids()[SUPERLINK]})

    def pull_as_answered(self, nodes: list[Peer], messages: list[str]) -> list[dict[str, Any]]:
        """Have the ServerApp pull each client's reply as soon as the client has pushed all of it.

        Earlier, Flower would wait a second and more before it tries again. The ServerApp's answers are to be taken.

        Args:
            nodes: Clients that were told to push.
            messages: What each replies to.

        Returns:
            The clients' answers, in the order in which they came.
        """
        answers = []
        with ThreadPoolExecutor(len(nodes)) as threads:
            pushes = {threads.submit(node.answer): message for node, message in zip(nodes, messages, strict=True)}
            for push in as_completed(pushes):
                answers.append(push.result())
                self.app.begin("pull", message=pushes[push])
        return answers

    def _superlink(self, address: str) -> tuple[str, ...]:
        host, _, port = address.rpartition(":")
        command = self._flower.command("flower-superlink")
        return (command, "--insecure", "--host", host, "--port", port, "--disable-runtime-dependency-installation")

    def _node(self, stack: ExitStack, number: int, switchboard: Switchboard, address: str) -> Peer:
        name = f"node-{number}"
        arguments = (str(self._flower.python), str(self._node_file), str(switchboard.port), name, address)
        self._start(stack, name, arguments, stage=2)
        node = switchboard.peer(name, self._supervisor.check)
        stack.callback(node.end)
        return node

    def _start(self, stack: ExitStack, name: str, arguments: tuple[str, ...], *, stage: int) -> None:
        self._supervisor.start(
            Program(
                name=name,
                stage=stage,
                arguments=arguments,
                log=self._folder / f"{name}.log",
                environment=self._flower.environment(self._home),
            )
        )
        stack.callback(self._supervisor.stop, [name])

    def _run(self, app: Path, port: int) -> None:
        """Submit the app, upon which the SuperLink starts it."""
        done = subprocess.run(
            [self._flower.command("flwr"), "run", str(app), _CONNECTION, "--run-config", f"port={port}"],
            env={**os.environ, **self._flower.environment(self._home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise LocalProcessFailed(f"`flwr run` failed:\n{done.stdout}{done.stderr}")

    def _wait_for(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        deadline = time.monotonic() + START_SECONDS
        while True:
            self._supervisor.check()
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), timeout=LOOK_SECONDS).close()
                return
            if time.monotonic() > deadline:
                raise LocalProcessFailed(f"Flower's SuperLink did not listen within {START_SECONDS:.0f} s")
            time.sleep(LOOK_SECONDS)


def _lay_out(folder: Path, address: str) -> tuple[Path, Path]:
    """Write Flower's settings, the app and the client's script; return the paths of the last two.

    All of it lies apart from this package: Flower's interpreter is not to see ours.
    """
    home, app, scripts = folder / "home", folder / "app", folder / "scripts"
    package = app / "rival"
    for place in (home, package, scripts):
        place.mkdir(parents=True)
    (home / "config.toml").write_text(_SETTINGS.format(name=_CONNECTION, address=address), "utf-8")
    (package / "__init__.py").touch()
    for source, target in (
        (_THEIRS / "pyproject.toml", app),
        (_THEIRS / "server_app.py", package),
        (_THEIRS / "client_app.py", package),
        (_LINES, package),
        (_THEIRS / "node.py", scripts),
        (_LINES, scripts),
    ):
        shutil.copy(source, target)
    return app, scripts / "node.py"


def _leave(app: Peer) -> None:
    """Have the server application end: it is Flower's child and not ours, which would outlive its SuperLink."""
    app.end()
    if not app.ended_within(LEAVE_SECONDS):
        app.kill()
