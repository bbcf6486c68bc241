"""Where runs are carried out: the models of one process, made at its first run, in this process or in a worker's."""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading

import torch

from alignfed.errors import AlignFedError
from bench.federation.federation import Federation
from bench.results import RunResult
from bench.settle.scoring import Scoring, make_scorer
from bench.simulator.engine import Engine
from bench.simulator.simulation import Scorer, Setup, simulate
from coordinator.algo.recipes import get_recipe

_TERMINATED = 128 + signal.SIGTERM

_LEAVE_SECONDS = 1.0
"""What a run that is told to leave has for closing what it opened."""


class Station:
    """Owns the models that one process carries runs out with.

    Args:
        federation: What is simulated.
        threads: CPU threads.
        scoring: How final adapters are scored beside their losses; None for not at all.
    """

    def __init__(self, federation: Federation, *, threads: int, scoring: Scoring | None = None) -> None:
        self._federation = federation
        self._threads = threads
        self._scoring = scoring
        self._is_busy = False

    @property
    def is_busy(self) -> bool:
        """Whether a run is being carried out, which has things to close."""
        return self._is_busy

    def carry_out(self, setup: Setup) -> RunResult:
        """Carry out one run.

        Raises:
            AlignFedError: It cannot be carried out; the message names the run.
        """
        torch.set_num_threads(self._threads)
        self._is_busy = True
        try:
            return simulate(setup, self._engine, score=self._scorer)
        except AlignFedError as error:
            raise type(error)(f"{describe(setup)}: {error.message}", **error.metadata) from error
        finally:
            self._is_busy = False

    @functools.cached_property
    def _engine(self) -> Engine:
        return Engine(self._federation, threads=self._threads)

    @functools.cached_property
    def _scorer(self) -> Scorer | None:
        return make_scorer(self._scoring, self._federation)


def describe(setup: Setup) -> str:
    """Return a run in a few words."""
    variant = f" [{setup.variant}]" if setup.variant else ""
    return (
        f"{setup.regime.name}/{setup.layout.value} {setup.recipe.name}{variant} "
        f"eta {setup.server_learning_rate:g} seed {setup.seed}"
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NamedSetup:
    """A setup that can be sent to another process: the recipe, made of functions, goes by name."""

    setup: dict[str, object]
    recipe: str

    @classmethod
    def of(cls, setup: Setup) -> NamedSetup:
        """Return what stands for a setup."""
        fields = (field.name for field in dataclasses.fields(setup) if field.name != "recipe")
        return cls(setup={name: getattr(setup, name) for name in fields}, recipe=setup.recipe.name)

    def resolve(self) -> Setup:
        """Return the setup."""
        return Setup(recipe=get_recipe(self.recipe), **self.setup)  # type: ignore[arg-type]  # its own fields


_here: list[Station] = []
"""The station of a worker process: one, set up when it starts."""


def open_station(federation: Federation, threads: int, scoring: Scoring | None) -> None:
    """Set a worker process up: it leaves when told to, or when the process that started it is gone."""
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_leave_with_parent, name="parent watch", daemon=True).start()
    _here[:] = [Station(federation, threads=threads, scoring=scoring)]


def carry_out_here(named: NamedSetup) -> RunResult:
    """Carry out one run in a worker process that was set up by `open_station`.

    Raises:
        AlignFedError: It cannot be carried out.
    """
    try:
        return _here[0].carry_out(named.resolve())
    except SystemExit:  # told to leave: everything below is closed, and the pool must not take this for an answer
        os._exit(_TERMINATED)


def _leave(_number: int, _frame: object) -> None:
    if not (_here and _here[0].is_busy):
        os._exit(_TERMINATED)
    # an exception that meets a finalizer is printed and lost, so it is not all that is relied on
    threading.Timer(_LEAVE_SECONDS, os._exit, [_TERMINATED]).start()
    raise SystemExit(_TERMINATED)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
