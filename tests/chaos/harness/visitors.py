"""Operators and others who keep coordinators busy with everything that is not a delta, so that they die of that too."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import torch

from alignfed.errors import AlignFedError
from alignfed.plan import FederationPlan
from coordinator.cli.operator_client import OperatorClient
from coordinator.domain import JoinGrant
from edge_agent.domain import Capabilities, DeltaMeta, GlobalVersion, ResumeAt
from edge_agent.wire.client import CoordinatorClient
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.journals import ACKNOWLEDGED
from tests.chaos.harness.payloads import delta_with

PAUSE_SECONDS = 0.15
CALL_SECONDS = 3.0
QUEUE_SECONDS = 1.0
"""Within so long some agent uploads a delta."""
TAIL_BYTES = 400
DROP_ONE_IN = 4
SPOILER = "spoiler"
GRANT = "ab" * 12
GRANT_SECONDS = 30.0


class Visitors:
    """Asks every coordinator for everything that operators ask for, round after round, in a thread of its own.

    Args:
        fleet: Whom to visit.
        rng: What is asked now and then.
        wanted: Returns the coordinators that wait to die of a call; rare ones are made only to them.
    """

    def __init__(self, fleet: Fleet, rng: random.Random, wanted: Callable[[str], set[str]]) -> None:
        self._fleet = fleet
        self._rng = rng
        self._wanted = wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="visitors", daemon=True)
        self._created = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go, for good. Idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            for number, address in enumerate(self._fleet.operator_addresses, start=1):
                # a new channel each time: an old one would wait ever longer before it tries a dead coordinator again
                with OperatorClient(address, call_seconds=CALL_SECONDS) as client:
                    self._visit(client, f"coordinator-{number}")
            self._spoil()

    def _visit(self, client: OperatorClient, coordinator: str) -> None:
        name = self._fleet.plan.federation
        letters = []
        with suppress(AlignFedError):
            letters = [letter.delta_id for letter in client.dead_letters(name)]
        asks: list[Callable[[], object]] = [
            client.inspect,
            client.federations,
            lambda: client.federation(name),
            lambda: client.versions(name, limit=3),
            lambda: client.version(name),
            lambda: client.agents(name),
            lambda: client.delta(name, "no-such-delta"),
            *(lambda delta_id=delta_id: client.delta(name, delta_id) for delta_id in self._acknowledged_lately()),
            lambda: client.pause(name),
            client.join_grants,
            lambda: client.create_join_grant(self._grant()),
            lambda: client.withdraw_join_grant(GRANT),
            lambda: client.revoke_identity("agent:nobody"),
        ]
        for letter in letters:
            drop = self._rng.randrange(DROP_ONE_IN) == 0
            settle = client.drop_dead_letter if drop else client.requeue_dead_letter
            asks.append(lambda settle=settle, letter=letter: settle(name, letter))
        asks += self._rare(client, coordinator)
        self._rng.shuffle(asks)
        for ask in asks:
            with suppress(AlignFedError):  # it died, or there is no such thing: both are the point
                ask()
            with suppress(AlignFedError):
                if ask == asks[-1] or self._rng.random() < 0.3:
                    client.resume(name)

    def _rare(self, client: OperatorClient, coordinator: str) -> list[Callable[[], object]]:
        """Return calls that would change the federation's course if they were made all the time."""
        name = self._fleet.plan.federation
        rare: list[Callable[[], object]] = []
        if coordinator in self._wanted("store.versions.roll_back"):
            rare.append(lambda: client.roll_back(name, client.federation(name).head.id.number))
        if coordinator in self._wanted("store.deltas.place"):
            rare.append(lambda: self._ask_about_queued(client))
        if coordinator in self._wanted("store.agents.revoke"):
            rare.append(lambda: client.revoke_agent(name, self._passer_by()))
        if coordinator in self._wanted("store.federations.create"):
            self._created += 1
            plan = dataclasses.replace(self._fleet.plan, federation=f"other-{self._created}")
            rare.append(lambda: client.create_federation(plan, self._fleet.first_adapter(), b""))
        return rare

    def _ask_about_queued(self, client: OperatorClient) -> None:
        """Ask about deltas while nothing is merged: those acknowledged since are queued, not merged long ago."""
        client.pause(self._fleet.plan.federation)
        self._stop.wait(QUEUE_SECONDS)
        for delta_id in self._acknowledged_lately():
            client.delta(self._fleet.plan.federation, delta_id)

    def _grant(self) -> JoinGrant:
        """Return a grant that nobody uses, and that ends soon."""
        now = time.time()
        return JoinGrant(
            token_id=GRANT,
            secret_sha256="0" * 64,
            agent="nobody",
            federations=(self._fleet.plan.federation,),
            uses=1,
            created_at=now,
            expires_at=now + GRANT_SECONDS,
        )

    def _passer_by(self) -> str:
        """Register an agent that is never seen again, and return its name."""
        self._created += 1
        agent_id = f"passer-by-{self._created}"
        fleet = self._fleet
        with CoordinatorClient(fleet.address, federation=fleet.plan.federation, agent_id=agent_id) as client:
            client.register(Capabilities())
        return agent_id

    def _acknowledged_lately(self) -> list[str]:
        """Return ids of deltas that may still be queued."""
        return [
            delta_id
            for events in Path(self._fleet.folder / "agents").glob("*/events.log")
            for delta_id in _last_acknowledged(events)
        ]

    def _spoil(self) -> None:
        """Upload a delta whose bytes are not what was announced: what arrived of it is deleted."""
        if not self._wanted("store.blobs.delete"):
            return
        fleet = self._fleet
        with (
            suppress(AlignFedError),
            CoordinatorClient(fleet.address, federation=fleet.plan.federation, agent_id=SPOILER) as client,
        ):
            head: GlobalVersion = client.register(Capabilities()).status.head
            meta, path = spoiled_delta(fleet.plan, fleet.folder, head)
            client.submit(meta, path, ResumeAt(offset=0), chunk_bytes=fleet.plan.limits.chunk_bytes)


def spoiled_delta(plan: FederationPlan, folder: Path, base: GlobalVersion) -> tuple[DeltaMeta, Path]:
    """Return a delta that is announced under another digest than its payload has."""
    delta = delta_with({spec.name: torch.zeros(spec.shape) for spec in plan.tensors}, plan, base=base)
    path = folder / "spoiled-payload"
    path.write_bytes(delta.payload)
    return dataclasses.replace(delta.meta, sha256="ab" * 32), path


def _last_acknowledged(events: Path) -> list[str]:
    with events.open("rb") as stream:
        stream.seek(0, 2)
        stream.seek(max(0, stream.tell() - TAIL_BYTES))
        lines = stream.read().decode("ascii").splitlines()[1:]
    return [line.partition(" ")[2] for line in lines if line.startswith(ACKNOWLEDGED)][-1:]
