"""P1 where a running fleet never comes by: first starts, a full outbox, a store that has lost what it acknowledged."""

from __future__ import annotations

import dataclasses
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from alignfed.errors import CoordinatorUnreachable
from alignfed.plan import Buffer
from coordinator.cli.operator_client import OperatorClient
from tests.chaos.faults.deaths import ELSEWHERE, listed
from tests.chaos.faults.losses import hand_in_and_die, has_receipt, lose, lose_payload
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.nursery import Child
from tests.chaos.harness.plan import FEDERATION, federation_plan
from tests.chaos.harness.roles import Role
from tests.chaos.harness.settling import empty_queue, journals, settle, state_directories
from tests.chaos.harness.tally import FAILED_HERE
from tests.chaos.verdict.evidence import gather
from tests.chaos.verdict.oracle import judge
from tests.chaos.verdict.outcome import Outcome

COORDINATOR, WORKER = "coordinator-1", "worker-1"
TINY_OUTBOX_BYTES = 500
"""Room for two deltas of the plan's."""
AT_THE_END = ("store_note.delete.",)
KILLING_PLACE = "merge.stored"
FENCING_SECONDS = 2.0
"""How long a merge waits there for the rollback that fences it."""


def run(folder: Path, *, seed: int, rounds: int, software: str = "valkey") -> Outcome:
    """Die `rounds` times at every place of `ELSEWHERE`, then judge."""
    began = time.monotonic()
    rng = random.Random(seed)
    plan = federation_plan(folder, buffer=Buffer(size=2, timeout_seconds=0.3))
    with Fleet(folder, plan, software=software) as fleet:
        fleet.add_coordinators(1)
        fleet.add_workers(1)
        fleet.create_federation()
        tour = [place for prefix in ELSEWHERE for place in _places(prefix) * rounds]
        rng.shuffle(tour)
        for number, place in enumerate(tour):
            prefix = next(it for it in ELSEWHERE if place.startswith(it))
            TOURS[prefix](fleet, place, f"agent-{number}")
        faults = settle(fleet)
        evidence = gather(fleet.store.url, plan.federation, agents=state_directories(fleet), journals=journals(fleet))
        return Outcome(
            scenario="corners",
            seed=seed,
            tally=fleet.tally,
            verdict=judge(evidence),
            seconds=time.monotonic() - began,
            further={"places": len(set(tour))},
            faults=(*faults, *fleet.accidents),
        )


def _places(prefix: str) -> list[str]:
    return [it.place for it in listed() if it.place.startswith(prefix)]


def _first_start(fleet: Fleet, place: str, name: str) -> None:
    """An agent dies in its first start, and starts again."""
    _dies(fleet, fleet.agent_role(name), place)
    _recover(fleet, name)


def _full_outbox(fleet: Fleet, place: str, name: str) -> None:
    """An agent trains on without a coordinator until its outbox is full, and dies as it drops the oldest delta."""
    role = fleet.agent_role(name, max_outbox_bytes=TINY_OUTBOX_BYTES)
    child = fleet.run_once(role, f"{place}=crash")
    fleet.tend_until(lambda: role.ready in child.output, what=f"{name} has a version to train from")
    coordinator = fleet.roles[COORDINATOR]
    fleet.retire(COORDINATOR, signal.SIGKILL)
    _died(fleet, child, place)
    fleet.add(coordinator)
    fleet.wait_ready(COORDINATOR)
    _recover(fleet, name)


def _store_that_lost(fleet: Fleet, place: str, name: str) -> None:
    """An agent dies as it takes an acknowledged delta up again that the store has lost, as in a failover."""
    with OperatorClient(fleet.operator_addresses[0]) as client:
        client.pause(fleet.plan.federation)
        lose(fleet, hand_in_and_die(fleet, name))
        _dies(fleet, fleet.agent_role(name), place)
        client.resume(fleet.plan.federation)
    _recover(fleet, name)


def die_at_a_lost_payload(fleet: Fleet, place: str, name: str) -> None:
    """The worker dies as it forgets a delta without a payload; another one forgets it, and its agent sends it again."""
    worker = fleet.roles[WORKER]
    with OperatorClient(fleet.operator_addresses[0]) as client:
        client.pause(fleet.plan.federation)
        delta_id = hand_in_and_die(fleet, name)
        fleet.retire(WORKER, signal.SIGTERM)
        lose_payload(fleet, delta_id)
        dying = fleet.run_once(worker, f"{place}=crash")
        client.resume(fleet.plan.federation)
    _died(fleet, dying, place)
    fleet.add(worker)
    fleet.tend_until(lambda: not has_receipt(fleet, delta_id), what=f"delta {delta_id} is forgotten")
    _recover(fleet, name)


def _embedded_store(fleet: Fleet, place: str, name: str) -> None:
    """A coordinator with a store of its own dies as it notes, or withdraws, where that is."""
    arguments = ["--agent-listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0", "--metrics-listen", ""]
    arguments += ["--data-dir", str(fleet.folder / "embedded")]
    role = Role(kind="coordinator", name=f"embedded-{name}", settings={"arguments": arguments}, ready="serving agents")
    _dies(fleet, role, place)
    child = fleet.run_once(role, "")  # the next one finds nothing in its way
    _end(fleet, child, role.ready)


def _killing_delta(fleet: Fleet, place: str, name: str) -> None:
    """A delta kills every worker that merges it until it becomes a dead letter; who moves it about dies too."""
    worker = fleet.roles[WORKER]
    victim = dataclasses.replace(worker, name="worker-killed")
    fleet.retire(WORKER, signal.SIGKILL)
    _recover(fleet, name)  # a delta that nobody merges
    if place.startswith("store.deltas.bury."):
        armed = f"{KILLING_PLACE}=crash; {place}=crash"
        _kill_workers(fleet, victim, armed, until=_more_deaths(fleet, place))
    else:
        with OperatorClient(fleet.operator_addresses[0]) as client:
            _kill_workers(fleet, victim, f"{KILLING_PLACE}=crash", until=lambda: bool(client.dead_letters(FEDERATION)))
        _dies_of_a_letter(fleet, place)
    fleet.add(worker)
    empty_queue(fleet)


def _fenced_merge(fleet: Fleet, place: str, name: str) -> None:
    """A worker whose merge was fenced, by a rollback in its midst, dies as it takes the attempt back."""
    worker = fleet.roles[WORKER]
    fleet.retire(WORKER, signal.SIGKILL)
    _recover(fleet, name)
    child = fleet.run_once(worker, f"{KILLING_PLACE}=delay({FENCING_SECONDS}); {place}=crash")
    fleet.tend_until(lambda: f"failpoint {KILLING_PLACE} hit" in child.output, what="a merge is about to be committed")
    with OperatorClient(fleet.operator_addresses[0]) as client:
        client.roll_back(FEDERATION, 0)
    _died(fleet, child, place)
    fleet.add(worker)
    empty_queue(fleet)
    _recover(fleet, name)  # merged: a rollback to what is served already would fence nobody the next time
    empty_queue(fleet)


def _kill_workers(fleet: Fleet, role: Role, failpoints: str, *, until: Callable[[], bool]) -> None:
    """Start worker after worker, until it holds; the last one is killed."""
    while not until():
        child = fleet.run_once(role, failpoints)
        fleet.tend_until(
            lambda child=child: child.code is not None or until(),  # type: ignore[misc]
            what="a delta has killed a worker",
        )
    if role.name in fleet.children:
        fleet.retire(role.name, signal.SIGKILL)


def _more_deaths(fleet: Fleet, place: str) -> Callable[[], bool]:
    before = fleet.tally.by_place[place]
    return lambda: fleet.tally.by_place[place] > before


def _dies_of_a_letter(fleet: Fleet, place: str) -> None:
    """A coordinator dies as it requeues or drops the dead letter."""
    coordinator = fleet.roles[COORDINATOR]
    fleet.retire(COORDINATOR, signal.SIGKILL)
    child = fleet.run_once(coordinator, f"{place}=crash")
    fleet.tend_until(lambda: coordinator.ready in child.output, what="the coordinator serves")
    with OperatorClient(fleet.operator_addresses[0]) as client, suppress(CoordinatorUnreachable):
        letter = client.dead_letters(FEDERATION)[0].delta_id
        ask = client.drop_dead_letter if ".drop_dead." in place else client.requeue_dead_letter
        ask(FEDERATION, letter)
    _died(fleet, child, place)
    fleet.add(coordinator)
    fleet.wait_ready(COORDINATOR)


TOURS: dict[str, Callable[[Fleet, str, str], None]] = {
    "digests.save.": _first_start,
    "outbox.drop.": _full_outbox,
    "outbox.reopen.": _store_that_lost,
    "store.deltas.bury.": _killing_delta,
    "store.deltas.drop_dead.": _killing_delta,
    "store.deltas.requeue_dead.": _killing_delta,
    "store.deltas.forgive_attempt.": _fenced_merge,
    "store.deltas.disown.": die_at_a_lost_payload,
    "store_note.": _embedded_store,
}


def _dies(fleet: Fleet, role: Role, place: str) -> None:
    child = fleet.run_once(role, f"{place}=crash")
    if place.startswith(AT_THE_END):
        fleet.tend_until(lambda: role.ready in child.output, what=f"{role.name} is ready")
        child.signal(signal.SIGTERM)
    _died(fleet, child, place)


def _died(fleet: Fleet, child: Child, place: str) -> None:
    fleet.tend_until(lambda: child.code is not None, what=f"{child.name} dies at {place}")
    if place not in FAILED_HERE.findall(child.output):
        fleet.accidents.append(f"{child.name} was to die at {place}; it ended with {child.code}")


def _recover(fleet: Fleet, name: str) -> None:
    """Run an agent until everything it has kept is sent, and one more delta."""
    child = fleet.run_once(fleet.agent_role(name, max_deltas=1), "")
    fleet.tend_until(lambda: child.code is not None, what=f"{name} has sent everything")


def _end(fleet: Fleet, child: Child, ready: str) -> None:
    fleet.tend_until(lambda: ready in child.output, what=f"{child.name} is ready")
    child.signal(signal.SIGTERM)
    fleet.tend_until(lambda: child.code is not None, what=f"{child.name} has ended")
