"""Flower's side: a real SuperLink and ServerApp, and clients made of Flower's own code without its polling."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from bench.flower.installed import Flower
from bench.flower.payloads import Payload
from bench.flower.processor import Meter
from bench.flower.switchboard import LOOK_SECONDS, Peer, Switchboard
from bench.speed.started import START_SECONDS
from coordinator.local.cluster import free_ports
from coordinator.local.processes import Program, Supervisor

MEGA = 1e6
RUN_SECONDS = 120.0
LEAVE_SECONDS = 10.0
SERVER_APP = "server-app"
SUPERLINK = "superlink"
_THEIRS = Path(__file__).with_name("theirs")
_LINES = Path(__file__).with_name("lines.py")
_CONNECTION = "bench"
_SETTINGS = '[superlink]\ndefault = "{name}"\n[superlink.{name}]\naddress = "{address}"\ninsecure = true\n'
_SAME = 1e-4
"""Relative difference of sums that are rounded in different orders."""


class Rival:
    """Flower on loopback with one run, whose rounds are driven.

    Args:
        stack: Ends everything.
        supervisor: Runs the processes.
        folder: For logs and all that Flower keeps.
        flower: Where it is installed.
        clients: How many take part in an aggregation.

    Raises:
        LocalProcessFailed: A part does not get ready.
    """

    def __init__(self, stack: ExitStack, supervisor: Supervisor, folder: Path, flower: Flower, clients: int) -> None:
        self._supervisor = supervisor
        self._folder = folder
        self._home = folder / "home"
        self._flower = flower
        self._drawn = 0
        self._mean = 0.0
        address = f"127.0.0.1:{free_ports(1)[0]}"
        app, self._node_file = _lay_out(folder, address)
        self._start(stack, SUPERLINK, self._superlink(address), stage=1)
        self._wait_for(address)
        switchboard = stack.enter_context(Switchboard())
        self._run(app, switchboard.port)
        self._app = switchboard.peer(SERVER_APP, supervisor.check)
        stack.callback(_leave, self._app)
        self._nodes = [self._node(stack, number, switchboard, address) for number in range(clients)]
        pids = {peer.name: int(peer.about["pid"]) for peer in (self._app, *self._nodes)}
        self.meter = Meter({**pids, SUPERLINK: supervisor.pids()[SUPERLINK]})

    def upload(self, payload: Payload) -> float:
        """Return MB/s of one client, from sending its reply to the last of its objects pushed."""
        messages = self._ask(payload, self._nodes[:1])
        with self.meter.reading():
            seconds = self._nodes[0].timed("push")
        for message in messages:
            self._app.ask("pull", message=message)  # so that nothing piles up; not timed
        self._app.ask("forget")
        return payload.total_bytes / seconds / MEGA

    def merge(self, payload: Payload) -> float:
        """Return MB/s of all clients together, from the first's sending to the aggregate.

        Each reply is pulled at the moment its last object is pushed: earlier, Flower would wait a second and more
        before it tries again.

        Raises:
            LocalProcessFailed: Something else was aggregated.
        """
        messages = self._ask(payload, self._nodes)
        with self.meter.reading():
            began = self._pushed_and_pulled(messages)
            self._app.begin("aggregate")
            for _ in messages:
                self._app.answer()
            done = self._app.answer()
        self._app.ask("forget")
        if not math.isclose(done["first"], self._mean, rel_tol=_SAME, abs_tol=1e-7):
            raise LocalProcessFailed(f"Flower's aggregate begins with {done['first']}, not with {self._mean}")
        return len(self._nodes) * payload.total_bytes / (float(done["ended"]) - began) / MEGA

    def _pushed_and_pulled(self, messages: list[str]) -> float:
        """Have all clients push, and each reply pulled as soon as it can be; return when the first began."""
        for node in self._nodes:
            node.begin("push")
        began = []
        with ThreadPoolExecutor(len(self._nodes)) as threads:
            pushes = {threads.submit(node.answer): message for node, message in zip(self._nodes, messages, strict=True)}
            for push in as_completed(pushes):
                began.append(float(push.result()["began"]))
                self._app.begin("pull", message=pushes[push])
        return min(began)

    def _ask(self, payload: Payload, nodes: list[Peer]) -> list[str]:
        """Push a message for each of some clients, and have them make their replies ready."""
        messages: list[str] = self._app.ask("ask", nodes=[node.about["node"] for node in nodes])["messages"]
        tensors = [(spec.name, spec.shape) for spec in payload.tensors]
        self._drawn += 1
        for number, node in enumerate(nodes):
            node.begin("prepare", tensors=tensors, seed=[self._drawn, number])
        self._mean = sum(node.answer()["first"] for node in nodes) / len(nodes)
        return messages

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
