"""Local training on demand: jobs that are in flight at the same virtual time are trained in one pass."""

from __future__ import annotations

from alignfed.codec import Factors
from bench.simulator.local_training import LocalJob, LocalSettings, train
from bench.simulator.stacked import StackedLora


class Workshop:
    """Trains jobs when the first of them is needed, together with those that began meanwhile.

    A job's inputs are fixed when it begins, so when it is computed makes no difference to its result but rounding.

    Args:
        model: What to train on.
        settings: Hyper-parameters.
        most: Jobs per pass; bounds memory.
    """

    def __init__(self, model: StackedLora, settings: LocalSettings, *, most: int) -> None:
        self._model, self._settings, self._most = model, settings, most
        self._pending: dict[int, LocalJob] = {}
        self._done: dict[int, Factors] = {}
        self._begun = 0

    def begin(self, job: LocalJob) -> int:
        """Note a job down and return its number."""
        self._begun += 1
        self._pending[self._begun] = job
        return self._begun

    def abandon(self, number: int) -> None:
        """Forget a job: its machine went away."""
        self._pending.pop(number, None)
        self._done.pop(number, None)

    def take(self, number: int) -> Factors:
        """Return a job's delta as it was trained, and forget the job."""
        if number not in self._done:
            chosen = [number, *(other for other in self._pending if other != number)][: self._most]
            jobs = [self._pending.pop(other) for other in chosen]
            self._done.update(zip(chosen, train(self._model, jobs, self._settings), strict=True))
        return self._done.pop(number)
