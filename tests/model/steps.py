"""The steps of random programs, and the tempers of programs: which steps one takes often.

Steps drawn evenly seldom add up to a merge, and hardly ever to a dozen. So a step may be a whole merge, and a program
has a temper: one publishes version after version, one goes back again and again, one dies all the time.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Coroutine
from typing import Any

from tests.model.program import AGENTS, FOREVER, WORKERS, Program
from tests.support.stores import NOW


@dataclasses.dataclass(frozen=True)
class Choice:
    """A step, and what it is about; each uses what it needs of it."""

    name: str
    agent: str
    worker: str
    count: int
    index: int
    behind: int
    flag: bool


async def take_over(program: Program, it: Choice) -> None:
    """Let the lease run out and another worker begin to lead."""
    await program.expire_lease()
    await program.acquire(it.worker)
    await program.reclaim(it.worker)


async def expire_lease(program: Program, _: Choice) -> None:
    await program.expire_lease()


async def revoke(program: Program, _: Choice) -> None:
    await program.revoke(AGENTS[-1])


async def lead(program: Program, it: Choice) -> None:
    """Take the lease, if it is free, and claim."""
    await program.acquire(it.worker)
    await program.claim(it.worker, it.count)


async def whole_merge(program: Program, it: Choice) -> None:
    """Do all that a worker does for a version, whether or not the lease is free."""
    await lead(program, it)
    await program.begin(it.worker, it.count)
    await program.merge(it.worker, it.count, with_state=it.flag)
    await program.commit(it.worker)


async def publish(program: Program, it: Choice) -> None:
    """Have a delta, perhaps a stale one, accepted and merged by whoever leads; by the chosen worker if nobody does."""
    await program.submit(it.agent, behind=min(max(it.behind, 0), program.reference.keep_versions - 1))
    holder = program.reference.holder
    await whole_merge(program, it if holder is None else dataclasses.replace(it, worker=holder[0]))


async def die_before_commit(program: Program, it: Choice) -> None:
    """Do all of a merge but its commit, die, and have another worker do it again from what was claimed."""
    await program.submit(it.agent, behind=0)
    await lead(program, it)
    await program.begin(it.worker, it.count)
    await program.merge(it.worker, it.count, with_state=it.flag)
    await program.crash(it.worker)
    other = next(worker for worker in WORKERS if worker != it.worker)
    await take_over(program, dataclasses.replace(it, worker=other))
    await program.merge(other, it.count, with_state=it.flag)
    await program.commit(other)


async def poison(program: Program, it: Choice) -> None:
    """Have a delta accepted and given up by whoever leads."""
    await program.submit(it.agent, behind=0)
    holder = program.reference.holder
    worker = it.worker if holder is None else holder[0]
    await lead(program, dataclasses.replace(it, worker=worker))
    await program.bury(worker)


async def go_back(program: Program, it: Choice) -> None:
    """Roll back by a version or more, if there are any; now and then to the head itself."""
    await program.roll_back(behind=max(it.behind, 0 if it.count == 1 else 1))


Step = Callable[[Program, Choice], Coroutine[Any, Any, None]]

STEPS: dict[str, tuple[int, Step]] = {
    "submit": (12, lambda program, it: program.submit(it.agent, behind=it.behind)),
    "upload": (3, lambda program, it: program.upload(it.agent, behind=it.behind, foreign=it.flag)),
    "accept": (4, lambda program, it: program.accept(it.index)),
    "impostor": (1, lambda program, it: program.impostor(it.index, agent=it.agent, other_content=it.flag)),
    "lead": (6, lead),
    "take_over": (3, take_over),
    "acquire": (1, lambda program, it: program.acquire(it.worker)),
    "renew": (1, lambda program, it: program.renew(it.worker)),
    "release": (1, lambda program, it: program.release(it.worker)),
    "expire_lease": (1, expire_lease),
    "claim": (4, lambda program, it: program.claim(it.worker, it.count)),
    "reclaim": (1, lambda program, it: program.reclaim(it.worker)),
    "begin": (2, lambda program, it: program.begin(it.worker, it.count)),
    "merge": (3, lambda program, it: program.merge(it.worker, it.count, with_state=it.flag)),
    "commit": (3, lambda program, it: program.commit(it.worker)),
    "whole_merge": (10, whole_merge),
    "publish": (8, publish),
    "die_before_commit": (1, die_before_commit),
    "reject": (3, lambda program, it: program.reject(it.worker, it.count)),
    "bury": (3, lambda program, it: program.bury(it.worker)),
    "crash": (1, lambda program, it: program.crash(it.worker)),
    "requeue": (2, lambda program, it: program.requeue(it.index)),
    "drop": (1, lambda program, it: program.drop(it.index)),
    "roll_back": (3, lambda program, it: program.roll_back(behind=it.behind)),
    "go_back": (3, go_back),
    "poison": (3, poison),
    "pause": (1, lambda program, it: program.pause(it.flag)),
    "revoke": (1, revoke),
    "sweep": (3, lambda program, it: program.sweep(before=FOREVER if it.flag else NOW)),
}

TEMPERS: dict[str, dict[str, int]] = {
    "anything": {},
    "steady": {"publish": 60, "revoke": 0, "submit": 20},
    "going back": {"publish": 45, "go_back": 18, "revoke": 0, "sweep": 6},
    "dying": {
        "publish": 25,
        "die_before_commit": 10,
        "crash": 8,
        "take_over": 8,
        "expire_lease": 5,
        "upload": 6,
        "sweep": 6,
    },
    "refusing": {"publish": 25, "reject": 8, "poison": 12, "requeue": 12, "drop": 4, "go_back": 5},
}
"""How often a program of each temper takes which step, where that is not as `STEPS` says."""


def choice_of(number: int, temper: str, *, place: int) -> Choice:
    """Return the step that a number stands for at a place: likely ones often, whichever numbers hypothesis repeats."""
    chances = random.Random(f"{number}:{place}")
    weights = {name: weight for name, (weight, _) in STEPS.items()} | TEMPERS[temper]
    return Choice(
        name=chances.choices(list(weights), weights=list(weights.values()))[0],
        agent=chances.choice(AGENTS),
        worker=chances.choices(WORKERS, weights=[2, 1])[0],
        count=chances.randint(1, 4),
        index=chances.randrange(30),
        behind=chances.choices([0, 1, 2, 3, 4, -1, 99], weights=[24, 6, 4, 2, 2, 1, 1])[0],
        flag=chances.random() < 0.5,
    )
