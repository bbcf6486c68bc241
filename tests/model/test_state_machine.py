"""Random programs of agents, coordinators, workers, operators and crashes, on every kind of store.

Each step's answer is compared with a reference of plain dictionaries, and after each step the promises are checked: an
acknowledged delta is queued, merged into exactly one version, rejected or dead; nothing that is needed is gone; and at
the end nothing is left that nobody needs. `ALIGNFED_CASES` sets the number of programs, `ALIGNFED_STEPS` their length.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.model.program import AGENTS, FOREVER, WORKERS, Clock, Program, open_memory
from tests.support.cases import cases, steps
from tests.support.stores import NOW

PROGRAMS = 60
SHARES = {"memory": 0.8, "valkey": 0.2}
"""A server takes many times as long per step, and differs from memory in few places."""

STEPS_EACH = 40

Opener = Callable[[], Coroutine[Any, Any, tuple[Store, Clock]]]


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
    "reject": (3, lambda program, it: program.reject(it.worker, it.count)),
    "bury": (3, lambda program, it: program.bury(it.worker)),
    "crash": (1, lambda program, it: program.crash(it.worker)),
    "requeue": (2, lambda program, it: program.requeue(it.index)),
    "drop": (1, lambda program, it: program.drop(it.index)),
    "roll_back": (3, lambda program, it: program.roll_back(behind=it.behind)),
    "pause": (1, lambda program, it: program.pause(it.flag)),
    "revoke": (1, revoke),
    "sweep": (3, lambda program, it: program.sweep(before=FOREVER if it.flag else NOW)),
}


def choice_of(number: int) -> Choice:
    """Return the step that a number stands for: likely ones often, whichever numbers hypothesis likes to draw."""
    chances = random.Random(number)
    return Choice(
        name=chances.choices(list(STEPS), weights=[weight for weight, _ in STEPS.values()])[0],
        agent=chances.choice(AGENTS),
        worker=chances.choices(WORKERS, weights=[2, 1])[0],
        count=chances.randint(1, 4),
        index=chances.randrange(30),
        behind=chances.choices([0, 1, 2, 3, 4, -1, 99], weights=[24, 5, 3, 2, 2, 1, 1])[0],
        flag=chances.random() < 0.5,
    )


choices = st.integers(0, 2**64 - 1).map(choice_of)


class StoreMachine(RuleBasedStateMachine):
    """The steps of `Program`; `opener` brings an empty store into `runner`'s loop.

    One rule for all steps: hypothesis would leave out some of several in each program, and a merge needs many of them.
    """

    def __init__(self, runner: asyncio.Runner, opener: Opener) -> None:
        super().__init__()
        self._runner = runner

        async def start() -> Program:
            return await Program.start(*await opener())

        self.program = runner.run(start())

    @rule(it=choices)
    def step(self, it: Choice) -> None:
        _, step = STEPS[it.name]
        self._runner.run(step(self.program, it))

    @invariant()
    def promises_hold(self) -> None:
        self._runner.run(self.program.check())

    def teardown(self) -> None:
        self._runner.run(self.program.settle())


@pytest.fixture(params=["memory", "valkey"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def opener(kind: str, runner: asyncio.Runner, tmp_path: Path) -> Iterator[Opener]:
    """Open an empty store of a kind, as often as asked."""
    if kind == "memory":

        async def open_new() -> tuple[Store, Clock]:
            return open_memory()

        yield open_new
        return
    with EmbeddedValkey(tmp_path / "valkey") as server:

        async def connect() -> Store:
            return open_store(server.url)

        store = runner.run(connect())

        async def empty() -> tuple[Store, Clock]:
            await store._calls.command("FLUSHALL")  # type: ignore[attr-defined]
            return store, Clock()

        yield empty
        runner.run(store.close())


def test_random_programs_get_the_answers_of_the_reference(kind: str, runner: asyncio.Runner, opener: Opener) -> None:
    run_state_machine_as_test(
        lambda: StoreMachine(runner, opener),  # type: ignore[arg-type]
        settings=settings(
            max_examples=max(round(SHARES[kind] * cases(PROGRAMS)), 1),
            stateful_step_count=steps(STEPS_EACH),
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
