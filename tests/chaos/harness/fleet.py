"""A federation of real processes that die all the time: who runs, who died of what, and who must be started again.

    with Fleet(folder, federation_plan(folder, buffer=Buffer(size=4))) as fleet:
        fleet.add_coordinators(2)
        fleet.add_workers(2)
        fleet.create_federation()
        fleet.add_agent("agent-1")
        ...
        fleet.tend()             # starts again whoever has died; call it often
        fleet.kill("worker-1")   # SIGKILL, counted

`fleet.store` can be killed and started too. Every coordinator listens for agents on the same port (SO_REUSEPORT) and
for operators on one of its own.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch

from alignfed.codec import encode
from alignfed.errors import CoordinatorUnreachable
from alignfed.plan import Encoding, FederationPlan
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.cluster import free_ports
from tests.chaos.harness.nursery import Child, Nursery
from tests.chaos.harness.roles import Arm, Role
from tests.chaos.harness.store import KillableStore
from tests.chaos.harness.tally import FAILED_HERE, Tally
from tests.support.waiting import wait_until

LEASE_SECONDS = 0.6
DISCOVER_SECONDS = 0.1
SETTLE_SECONDS = 240.0
"""How long everything may take to come to rest, on a machine that has other things to do."""

MOST_ACCIDENTS = 5
"""Processes that end otherwise than they were told to: after so many it is not worth going on."""


class Fleet:
    """Owns store, nursery and roles. Use it as a context manager; one thread tends it.

    Args:
        folder: Everything's files.
        plan: The federation.
        software: The store's: `valkey` or `redis`.
        payloads_in_files: Whether payloads are files in the folder, rather than in the store.
        arm: Told each role before each start; returns its failpoints.
    """

    def __init__(
        self,
        folder: Path,
        plan: FederationPlan,
        *,
        software: str = "valkey",
        payloads_in_files: bool = False,
        arm: Arm = lambda _role: "",
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.blob_url = (folder / "payloads").as_uri() if payloads_in_files else ""
        self.arm = arm
        self.tally = Tally()
        self.accidents: list[str] = []
        self.roles: dict[str, Role] = {}
        self.children: dict[str, Child] = {}
        self.operator_addresses: list[str] = []
        self.store = KillableStore(folder / "store", software=software)
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self._stack = ExitStack()
        self._killed: set[int] = set()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.enter_context(self.store)
            self.nursery = undo.enter_context(Nursery(self.folder / "processes"))
            self._stack = undo.pop_all()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stack.close()

    # ---- who takes part ----------------------------------------------------------------------------------------------

    def add_coordinators(self, count: int, *further: str) -> None:
        """Start coordinators behind one address for agents."""
        for number, port in enumerate(free_ports(count), start=1):
            operators = f"127.0.0.1:{port}"
            self.operator_addresses.append(operators)
            listen = ["--agent-listen", self.address, "--share-port", "--operator-listen", operators]
            arguments = [*listen, "--metrics-listen", "", "--store-url", self.store.url, "--drain-seconds", "10"]
            arguments += ["--blob-url", self.blob_url] if self.blob_url else []
            self.add(
                Role(
                    kind="coordinator",
                    name=f"coordinator-{number}",
                    settings={"arguments": [*arguments, *further]},
                    ready="serving agents_port",
                )
            )

    def add_workers(self, count: int, *, lease_seconds: float = LEASE_SECONDS, **settings: Any) -> None:
        """Start workers."""
        base = {
            "store_url": self.store.url,
            "blob_url": self.blob_url,
            "lease_ttl_seconds": lease_seconds,
            "discover_seconds": DISCOVER_SECONDS,
            "log_level": "info",
        }
        for number in range(1, count + 1):
            self.add(Role(kind="worker", name=f"worker-{number}", settings=base | settings, ready="started"))

    def add_agent(self, name: str, **settings: Any) -> Role:
        """Start an agent; see `agent_role`."""
        return self.add(self.agent_role(name, **settings))

    def agent_role(self, name: str, *, seconds: float = 0.05, outlier_every: int = 0, **settings: Any) -> Role:
        """Return an agent's role; `seconds` is how long a delta takes, one in `outlier_every` is far too large."""
        values = {
            "coordinator": self.address,
            "federation": self.plan.federation,
            "agent_id": name,
            "state_dir": str(self.folder / "agents" / name),
            "seconds": seconds,
            "outlier_every": outlier_every,
        }
        return Role(kind="agent", name=name, settings=values | settings, ready="training from")

    def add_sender(self, name: str, *, count: int, **settings: Any) -> Role:
        """Start a sender of `count` prepared deltas, which then ends."""
        folder = self.folder / "senders" / name
        folder.mkdir(parents=True, exist_ok=True)
        values = {
            "coordinator": self.address,
            "federation": self.plan.federation,
            "agent_id": name,
            "folder": str(folder),
            "count": count,
        }
        return self.add(Role(kind="sender", name=name, settings=values | settings, once=True))

    def add(self, role: Role) -> Role:
        """Start a role."""
        self.roles[role.name] = role
        self._start(role)
        return role

    def run_once(self, role: Role, failpoints: str) -> Child:
        """Start a process that is not started again, however it ends."""
        child = self.nursery.spawn(role.kind, role.name, role.settings, failpoints=failpoints)
        self.children[role.name] = child
        return child

    def create_federation(self) -> None:
        """Create the plan's federation, as `alignfed federations create` does, once a coordinator serves."""

        def created() -> bool:
            try:
                with OperatorClient(self.operator_addresses[0]) as client:
                    client.create_federation(self.plan, self.first_adapter(), b"")
            except CoordinatorUnreachable:
                return False
            return True

        self.tend_until(created, what="the federation is created")

    def first_adapter(self) -> bytes:
        """Return version 0: all zeros."""
        return bytes(encode({spec.name: torch.zeros(spec.shape) for spec in self.plan.tensors}, Encoding.FP32))

    # ---- life and death ----------------------------------------------------------------------------------------------

    def tend(self) -> list[Child]:
        """Count who has died, start whom it takes again, and return those that have ended since the last time."""
        if len(self.accidents) > MOST_ACCIDENTS:
            raise AssertionError("\n".join(self.accidents))
        self.nursery.reap()
        ended = [child for child in self.children.values() if child.code is not None]
        for child in ended:
            del self.children[child.name]
            self._count(child)
            role = self.roles.get(child.name)
            if role is not None and not (role.once and child.code == 0):
                self._start(role)
            else:
                self.roles.pop(child.name, None)
        return ended

    def kill(self, name: str) -> bool:
        """Send SIGKILL to whoever has the role; return whether it lived."""
        child = self.children[name]
        sent = child.signal(signal.SIGKILL)
        if sent:
            self._killed.add(child.pid)
        return sent

    def retire(self, name: str, number: signal.Signals = signal.SIGTERM) -> Child:
        """End a role for good and return the child, once it has ended; the others are tended meanwhile.

        It may need them: an agent that has its share ends only once a worker has merged.
        """
        self.roles.pop(name, None)
        child = self.children[name]
        if number == signal.SIGKILL:
            self.kill(name)
        else:
            child.signal(number)
        try:
            self.tend_until(lambda: child.code is not None, what=f"{name} has ended")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{child.last_words()}") from None
        return child

    def wait_ready(self, name: str) -> None:
        """Wait until a role does what it is there for, however often it dies before."""

        def ready() -> bool:
            self.tend()
            return name in self.children and self.roles[name].ready in self.children[name].output

        wait_until(ready, what=f"{name} is ready", timeout_seconds=SETTLE_SECONDS)

    def tend_for(self, seconds: float) -> None:
        """Tend for a while."""
        until = time.monotonic() + seconds
        self.tend_until(lambda: time.monotonic() >= until, what=f"{seconds} s have passed")

    def tend_until(self, holds: Callable[[], bool], *, what: str, timeout_seconds: float = SETTLE_SECONDS) -> None:
        """Tend until something holds."""

        def tended() -> bool:
            self.tend()
            return holds()

        wait_until(tended, what=what, timeout_seconds=timeout_seconds)

    def _start(self, role: Role) -> None:
        self.children[role.name] = self.nursery.spawn(role.kind, role.name, role.settings, failpoints=self.arm(role))

    def _count(self, child: Child) -> None:
        """Say what a child died of; whatever is neither planned nor asked for is an accident."""
        places = FAILED_HERE.findall(child.output) if child.failpoints else []
        if child.code == -signal.SIGKILL and places:
            self.tally.count(child.kind, places[-1])
        elif child.code == -signal.SIGKILL and child.pid in self._killed:
            self.tally.count(child.kind, "SIGKILL")
        elif child.code != 0:
            seen = time.strftime("%H:%M:%S")
            tail = "\n".join(child.output.splitlines()[-15:])
            self.accidents.append(f"{seen} {child.name} ended with {child.code} [{child.failpoints}]: {tail}")
        self._killed.discard(child.pid)
