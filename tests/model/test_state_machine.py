"""Random programs of agents, coordinators, workers, operators and crashes, on every kind of store.

Each step's answer is compared with a reference of plain dictionaries, and after each step the promises are checked: an
acknowledged delta is queued, merged into exactly one version, rejected or dead; nothing that is needed is gone; and at
the end nothing is left that nobody needs. `ALIGNFED_CASES` sets the number of programs, `ALIGNFED_STEPS` their length,
`ALIGNFED_MODEL_SEED` what they follow from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, note, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.ports import Store
from tests.model.depth import Depths, depth_of
from tests.model.program import Clock, Program, open_memory
from tests.model.steps import STEPS, TEMPERS, choice_of
from tests.support.cases import cases, seed_of, steps

PROGRAMS = 60
SHARES = {"memory": 0.8, "valkey": 0.2}
"""A server takes many times as long per step, and differs from memory in few places."""

STEPS_EACH = 40
SEED = seed_of("ALIGNFED_MODEL_SEED")
ENOUGH_PROGRAMS = 40
MOST_BATCHES = 5
"""Programs of one seed are alike: a few dozen may fall short by chance, and then those of further seeds count too."""
LEAST_SHARES = {
    "rollbacks": 0.3,
    "stale deltas merged": 0.4,
    "crashes with work in hand": 0.2,
    "leases expired": 0.4,
    "uploads expired": 0.1,
    "buried": 0.3,
    "requeued": 0.1,
}
"""In which part of the programs each must happen: about half of what is seen."""

Opener = Callable[[], Coroutine[Any, Any, tuple[Store, Clock]]]

numbers = st.integers(0, 2**64 - 1)


class StoreMachine(RuleBasedStateMachine):
    """The steps of `Program`; `opener` brings an empty store into `runner`'s loop.

    One rule for all steps: hypothesis would leave out some of several in each program, and a merge needs many of them.
    """

    def __init__(
        self, runner: asyncio.Runner, opener: Opener, depths: Depths | None = None, *, look_every: int = 1
    ) -> None:
        super().__init__()
        self._look_every = look_every
        self._runner = runner
        self._depths = depths
        self._temper = "anything"
        self._place = 0

        async def start() -> Program:
            return await Program.start(*await opener())

        self.program = runner.run(start())

    @initialize(temper=st.sampled_from(sorted(TEMPERS)))
    def begin(self, temper: str) -> None:
        self._temper = temper

    @rule(number=numbers)
    def step(self, number: int) -> None:
        it = choice_of(number, self._temper, place=self._place)
        self._place += 1
        note(f"step: {it}")
        _, step = STEPS[it.name]
        self._runner.run(step(self.program, it))

    @invariant()
    def promises_hold(self) -> None:
        if self._place % self._look_every == 0:
            self._runner.run(self.program.check())

    def teardown(self) -> None:
        if self._depths is not None:
            self._depths.programs.append(depth_of(self.program))
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
    programs, length = max(round(SHARES[kind] * cases(PROGRAMS)), 1), steps(STEPS_EACH)
    depths = run_programs(runner, opener, programs=programs, length=length)
    judged = len(depths.programs) >= ENOUGH_PROGRAMS and length >= STEPS_EACH
    for further in range(1, MOST_BATCHES):
        if not (judged and shallow(depths)):
            break
        more = run_programs(runner, opener, programs=programs, length=length, from_seed=SEED + further)
        depths.programs += more.programs
    print(f"{kind}, seed {SEED}: {depths}")  # noqa: T201 (figures, for whoever runs it with -s)
    if judged:
        assert_deep(depths)


def run_programs(
    runner: asyncio.Runner,
    opener: Opener,
    *,
    programs: int,
    length: int,
    look_every: int = 1,
    from_seed: int = SEED,
) -> Depths:
    """Run so many programs of so many steps, which follow from a seed, and return how far they got.

    Promises are checked after every `look_every` steps, and at the end; answers always are.
    """
    depths = Depths()
    run_state_machine_as_test(
        seed(from_seed)(lambda: StoreMachine(runner, opener, depths, look_every=look_every)),  # type: ignore[arg-type]
        settings=settings(
            max_examples=programs,
            stateful_step_count=length,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return depths


def shallow(depths: Depths) -> list[str]:
    """Return what programs did too rarely."""
    return [measure for measure, least in LEAST_SHARES.items() if depths.share(measure) < least]


def assert_deep(depths: Depths) -> None:
    """Check that programs do what they are for; a single one may be as shallow as hypothesis likes."""
    assert depths.median("versions") >= 4, depths
    assert not shallow(depths), f"seed {SEED}: {depths}"
