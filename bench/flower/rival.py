"""Flower's side: payloads through its SuperLink and ServerApp, without its polling."""

from __future__ import annotations

import math
from contextlib import ExitStack
from pathlib import Path

from alignfed.errors import LocalProcessFailed
from bench.flower.installed import Flower
from bench.flower.payloads import Payload
from bench.flower.superlink import FlowerRun
from bench.flower.switchboard import Peer
from coordinator.local.processes import Supervisor

MEGA = 1e6
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
        self._run = FlowerRun(stack, supervisor, folder, flower, clients)
        self._app, self._nodes, self.meter = self._run.app, self._run.nodes, self._run.meter
        self._drawn = 0
        self._mean = 0.0

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
            for node in self._nodes:
                node.begin("push")
            answers = self._run.pull_as_answered(self._nodes, messages)
            began = min(float(answer["began"]) for answer in answers)
            self._app.begin("aggregate")
            for _ in messages:
                self._app.answer()
            done = self._app.answer()
        self._app.ask("forget")
        if not math.isclose(done["first"], self._mean, rel_tol=_SAME, abs_tol=1e-7):
            raise LocalProcessFailed(f"Flower's aggregate begins with {done['first']}, not with {self._mean}")
        return len(self._nodes) * payload.total_bytes / (float(done["ended"]) - began) / MEGA

    def _ask(self, payload: Payload, nodes: list[Peer]) -> list[str]:
        """Push a message for each of some clients, and have them make their replies ready."""
        messages: list[str] = self._app.ask("ask", nodes=[node.about["node"] for node in nodes])["messages"]
        tensors = [(spec.name, spec.shape) for spec in payload.tensors]
        self._drawn += 1
        for number, node in enumerate(nodes):
            node.begin("prepare", tensors=tensors, seed=[self._drawn, number])
        self._mean = sum(node.answer()["first"] for node in nodes) / len(nodes)
        return messages
