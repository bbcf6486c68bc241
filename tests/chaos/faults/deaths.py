"""Who dies where and when: every failpoint of every kind of process at least once, then chance."""

from __future__ import annotations

import functools
import random
import signal
import time
from collections import Counter, deque
from typing import TypeVar

from coordinator.cli.failpoint_places import AGENT, COORDINATOR, WORKER, Place, places
from tests.chaos.harness.fleet import Fleet
from tests.chaos.harness.nursery import Child
from tests.chaos.harness.roles import Role
from tests.chaos.harness.tally import FAILED_HERE

T = TypeVar("T")

KINDS = (AGENT, COORDINATOR, WORKER)
PATIENCE_SECONDS = 6.0
"""A process that has not come by its place after so long dies anyway; at the place's next turn it has longer."""
TURNS = 6
"""So often a place gets a turn before it counts as never passed."""
LIVES_SECONDS = (0.05, 3.0)
"""How long a process lives that is to die anywhere, from when it is ready on, which takes a busy machine seconds."""
STILLBORN = 0.3
"""Share of those whose time counts from their very start."""
LONGEST_START_SECONDS = 15.0
"""Who is not ready by then may wait for the dead: its time begins all the same."""
TARGETED = "=crash"
"""How a start is armed that is to show that a place is passed: at the first hit."""
AT_THE_END = {"store.close.": "", "store.leases.release.": "leading with token"}
"""Places that are passed by who is told to stop, once its output holds this; empty for what makes it ready."""
LONG_PATIENCE_SECONDS = {"store.agents.seen.": 15.0}
"""Places that even a busy process comes by only every few seconds."""
AFTER_A_DEATH_AT = {"outbox.clean.": "outbox.put.meta.before"}
"""Places that a process comes by in its next start when it has died at another."""
REJECTING = ("outbox.reject.", "outbox.prune.")
ELSEWHERE = {
    "digests.save.": "the first start of an agent in a new folder: see `corners`",
    "outbox.drop.": "an agent whose outbox is full: see `corners`",
    "store.deltas.bury.": "a delta that kills the worker again and again: see `corners`",
    "store.deltas.drop_dead.": "a dead letter: see `corners`",
    "store.deltas.requeue_dead.": "a dead letter: see `corners`",
    "outbox.reopen.": "a coordinator that has lost what it acknowledged: see `corners`",
    "store.deltas.forgive_attempt.": "a worker whose merge was fenced: see `corners`",
    "store.deltas.disown.": "a worker whose store has lost a payload: see `corners`",
    "store_note.": "a coordinator with an embedded store: see `corners`",
}
"""Places that a running fleet never comes by, and `corners` does."""
OTHERS = {
    "outbox.put.residual.": "sparse deltas: see tests/unit/edge_agent, which kill an outbox at every step",
    "outbox.residual.": "sparse deltas: see tests/unit/edge_agent",
    "outbox.return.": "sparse deltas: see tests/unit/edge_agent",
    "privacy.charge.": "an agent that trains with noise: see tests/unit/edge_agent",
    "rpc.renew_certificate.": "an agent that has joined: see tests/integration/agent/test_agent_identity.py",
    "store.identities.granted.": "a machine that joins: see tests/service/identity/test_joining.py",
    "store.identities.redeem.": "a machine that joins: one step in the store, see tests/contract/test_identities.py",
}
"""Places of what no fleet here does, and where they are tested."""
OTHERS_OF_WORKERS = {
    "store.federations.set_paused.": "merge after merge that nothing can be published of: see tests/integration",
    "store.leases.holder.": "a worker that leads another federation: see tests/integration/test_worker_balance.py",
}
"""The same of workers alone."""


@functools.cache
def listed() -> tuple[Place, ...]:
    """Return every failpoint of the installed code, which does not change while this runs."""
    return tuple(places())


def left_out(kind: str) -> tuple[str, ...]:
    """Return how the places begin that a running fleet's processes of a kind never come by."""
    return (*ELSEWHERE, *OTHERS, *(OTHERS_OF_WORKERS if kind == WORKER else ()))


class Deaths:
    """Arms every start of a process, and kills those that are to die anywhere.

    Nobody dies before it is `enabled`; once it is `calm`, only who is to show that a place is passed.

    Args:
        rng: Chance.
        rejected: Name of the agent whose deltas are rejected, which alone comes by the `REJECTING` places.
        every_place: Give every failpoint turns until somebody has died there; otherwise all is chance.
    """

    def __init__(self, rng: random.Random, *, rejected: str, every_place: bool = True) -> None:
        self._rng = rng
        self._rejected = rejected
        self.enabled = False
        self.calm = False
        self._known: dict[str, list[str]] = {}
        self._queues: dict[str, deque[str]] = {}
        self.turns: Counter[tuple[str, str]] = Counter()
        self.reached: set[tuple[str, str]] = set()
        self._aims: dict[str, tuple[str, float]] = {}
        self._told: set[int] = set()
        self._lives: dict[str, float] = {}
        self._then: dict[str, str] = {}
        self._prepared: set[str] = set()
        for kind in KINDS:
            elsewhere = left_out(kind)
            names = [it.place for it in listed() if kind in it.processes and not it.place.startswith(elsewhere)]
            rng.shuffle(names)
            self._known[kind] = names
            self._queues[kind] = deque(names if every_place else ())

    @property
    def waiting(self) -> dict[str, list[str]]:
        """Places that nobody has died at yet, by kind of process; none that had all its turns."""
        aims = {name: place for name, (place, _) in self._aims.items() if place}
        return {kind: [*self._queues[kind], *_aims_of(kind, aims)] for kind in KINDS}

    @property
    def exhausted(self) -> bool:
        """Whether every place was died at, or had all its turns."""
        aimed = any(place for place, _ in self._aims.values())
        return not (aimed or self._then or any(self._queues.values()))

    @property
    def missed(self) -> list[str]:
        """Places that had all their turns in vain, as `kind place`."""
        return sorted(
            f"{kind} {place}"
            for (kind, place), turns in self.turns.items()
            if (kind, place) not in self.reached and turns
        )

    def wanted(self, place: str) -> set[str]:
        """Return the roles that wait to die at a place, or at one whose name begins so."""
        return {name for name, (aim, _) in list(self._aims.items()) if aim.startswith(place)}

    def arm(self, role: Role) -> str:
        """Return the failpoints of a role's next start."""
        self._aims.pop(role.name, None)
        self._lives.pop(role.name, None)
        if not self.enabled or role.kind not in KINDS:
            return ""
        place = self._then.pop(role.name, None) or self._next_place(role)
        if place is None:
            return self._by_chance(role)
        first = _of_prefix(AFTER_A_DEATH_AT, place)
        if first is not None and role.name not in self._prepared:
            self._prepared.add(role.name)
            self._then[role.name] = place
            self._aims[role.name] = ("", time.monotonic() + PATIENCE_SECONDS)
            return f"{first}=crash@1"
        self._prepared.discard(role.name)
        self.turns[role.kind, place] += 1
        patience = (_of_prefix(LONG_PATIENCE_SECONDS, place) or PATIENCE_SECONDS) * self.turns[role.kind, place]
        self._aims[role.name] = (place, time.monotonic() + patience)
        return place + TARGETED

    def tend(self, fleet: Fleet) -> None:
        """Note who has died at its place, give up on who does not, and kill who is to die now."""
        for child in fleet.tend():
            self._note(child)
        now = time.monotonic()
        for name, child in list(fleet.children.items()):
            if child.kind not in KINDS:
                continue
            if name in self._lives and fleet.roles[name].ready in child.output:
                self._aims[name] = ("", now + self._lives.pop(name))
            place, dies_at = self._aims.setdefault(name, ("", now + self._rng.uniform(*LIVES_SECONDS)))
            at_the_end = _of_prefix(AT_THE_END, place)
            if at_the_end is not None and child.pid not in self._told and now <= dies_at:
                if (at_the_end or fleet.roles[name].ready) in child.output:
                    self._told.add(child.pid)
                    child.signal(signal.SIGTERM)
            elif now > dies_at:
                fleet.kill(name)

    def _next_place(self, role: Role) -> str | None:
        queue = self._queues[role.kind]
        alive = not self.calm and self._rng.random() < 0.3  # so that the federation gets on
        for place in () if alive else list(queue):
            if role.kind == AGENT and place.startswith(REJECTING) != (role.name == self._rejected):
                continue
            queue.remove(place)
            return place
        return None

    def _by_chance(self, role: Role) -> str:
        """Let it die at a place that it may come by, at some later hit, or anywhere; if all is calm, not at all."""
        if self.calm:
            self._aims[role.name] = ("", float("inf"))
            return ""
        lives_seconds = self._rng.uniform(*LIVES_SECONDS)
        if self._rng.random() > STILLBORN:
            self._lives[role.name] = lives_seconds
            lives_seconds += LONGEST_START_SECONDS
        self._aims[role.name] = ("", time.monotonic() + lives_seconds)
        if self._rng.random() < 0.5:
            return ""
        return f"{self._rng.choice(self._known[role.kind])}=crash@{self._rng.randint(1, 12)}"

    def _note(self, child: Child) -> None:
        place = child.failpoints.removesuffix(TARGETED) if child.failpoints.endswith(TARGETED) else ""
        self._told.discard(child.pid)
        died_at = FAILED_HERE.findall(child.output) if child.failpoints else []
        self.reached |= {(child.kind, it) for it in died_at}
        if place and place not in died_at and self.turns[child.kind, place] < TURNS:
            self._queues[child.kind].append(place)


def _of_prefix(values: dict[str, T], place: str) -> T | None:
    return next((value for prefix, value in values.items() if place.startswith(prefix)), None)


def _aims_of(kind: str, aims: dict[str, str]) -> list[str]:
    return [place for name, place in aims.items() if name.startswith(kind)]
