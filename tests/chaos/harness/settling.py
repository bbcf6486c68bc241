"""Bringing a fleet to rest: nobody dies any more, what was kept is sent, what is queued is settled."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from alignfed.errors import AlignFedError
from coordinator.cli.operator_client import OperatorClient
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.roles import ENDLESS

REQUEUE_SECONDS = 1.0
NEVER_SECONDS = 1e6


def settle(fleet: Fleet) -> list[str]:
    """End agents once their outboxes are sent, wait for the queue, requeue dead letters, end everything.

    Returns:
        What went wrong: servers that did not end with 0 on SIGTERM.
    """
    fleet.arm = lambda _role: ""
    for name in [child.name for child in fleet.children.values() if child.failpoints]:
        fleet.kill(name)
    agents = [role for role in fleet.roles.values() if role.kind == "agent"]
    for role in agents:
        fleet.retire(role.name, signal.SIGKILL)
        role.settings["max_deltas"] = 1  # it ends by itself, after one more, with an outbox that holds nothing unsent
        role.once = True
        fleet.add(role)
    for role in [role for role in fleet.roles.values() if role.settings.get("count") == ENDLESS]:
        fleet.retire(role.name)
    senders = {role.name for role in fleet.roles.values() if role.kind in ("agent", "sender")}
    fleet.tend_until(lambda: not senders & fleet.children.keys(), what=f"{sorted(senders)} have sent everything")
    empty_queue(fleet)
    ends = {name: fleet.retire(name).code for name in list(fleet.children)}
    return [f"{name} ended with {code} on SIGTERM" for name, code in ends.items() if code != 0]


def come_to_rest(fleet: Fleet, agents: Sequence[str], *, coordinator: str = "") -> None:
    """Let agents make no more deltas, wait until they know what became of all they made, and end everybody."""
    link = {"coordinator": coordinator} if coordinator else {}
    for name in agents:
        fleet.retire(name)
        fleet.add_agent(name, seconds=NEVER_SECONDS, **link)
    outboxes = [fleet.folder / "agents" / name / "outbox" for name in agents]
    fleet.tend_until(lambda: not any(held(outbox) for outbox in outboxes), what="every outbox is empty")
    for name in [*agents, *(name for name in list(fleet.roles) if name not in agents)]:
        fleet.retire(name)


def empty_queue(fleet: Fleet) -> None:
    """Wait until nothing is queued and no letter is dead; dead ones are queued again."""
    looked_at = 0.0

    def empty() -> bool:
        nonlocal looked_at
        if time.monotonic() - looked_at < REQUEUE_SECONDS:
            return False
        looked_at = time.monotonic()
        name = fleet.plan.federation
        try:
            with OperatorClient(fleet.operator_addresses[0]) as client:
                client.resume(name)
                for letter in client.dead_letters(name):
                    client.requeue_dead_letter(name, letter.delta_id)
                return client.federation(name).queued == 0 and not client.dead_letters(name)
        except AlignFedError:  # a coordinator that has just been started again
            return False

    fleet.tend_until(empty, what="every delta is merged or rejected")


def state_directories(fleet: Fleet) -> list[Path]:
    """Return the state directories of all agents there ever were."""
    folder = fleet.folder / "agents"
    return sorted(folder.iterdir()) if folder.exists() else []


def journals(fleet: Fleet) -> list[Path]:
    """Return the journals of all senders."""
    return sorted((fleet.folder / "senders").glob("*/events.log"))


def held(outbox: Path) -> set[str]:
    """Return the ids of the deltas in an outbox, waiting to be sent or to be settled."""
    found = [directory for state in ("pending", "acknowledged") for directory in (outbox / state).glob("*")]
    return {directory.name.partition("-")[2] for directory in found}
