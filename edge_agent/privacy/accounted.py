"""A trainer whose privacy loss is written down before each job, and that stops before it would be too large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from alignfed.codec import Factors
from alignfed.errors import PrivacyBudgetSpent
from alignfed.privacy.loss import SampledSteps
from edge_agent.journal import Journal
from edge_agent.privacy.ledger import PrivacyLedger
from edge_agent.privacy.settings import DpSettings
from edge_agent.training.trainer import Trainer, TrainingJob, TrainingResult


class PrivateTrainer(Trainer, Protocol):
    """A training loop that adds noise, and says what a job costs."""

    def cost_of(self, job: TrainingJob) -> SampledSteps:
        """Return the steps that a job will take, from settings alone."""
        ...


class AccountedTrainer:
    """Implements `edge_agent.training.trainer.Trainer`.

    A job is charged whether or not it ends: what it learned of the rows before it was interrupted decides what happens
    next, and nobody can tell what that gives away.

    Args:
        trainer: Does the work.
        ledger: Where the cost is written down.
        settings: How much it may be.
        journal: Is told the privacy loss.
        persist: Runs what writes to the disk, as often as it takes.
    """

    def __init__(
        self,
        trainer: PrivateTrainer,
        *,
        ledger: PrivacyLedger,
        settings: DpSettings,
        journal: Journal,
        persist: Callable[[Callable[[], None]], None],
    ) -> None:
        self._trainer = trainer
        self._ledger = ledger
        self._settings = settings
        self._journal = journal
        self._persist = persist
        journal.privacy(ledger.epsilon(delta=settings.delta), delta=settings.delta)

    def train(self, adapter: Factors, job: TrainingJob) -> TrainingResult:
        """Charge the job, then train; see `Trainer.train`.

        Raises:
            PrivacyBudgetSpent: The job would cost more than is left; nothing was trained or charged.
            Interrupted: The agent stops, perhaps while the disk has no space for the charge.
        """
        cost, delta, most = self._trainer.cost_of(job), self._settings.delta, self._settings.max_epsilon
        after = self._ledger.epsilon_with(cost, delta=delta)
        if most is not None and after > most:
            raise PrivacyBudgetSpent(
                f"another delta would make the privacy loss {after:.3g}, and dp-max-epsilon is {most:g} (delta "
                f"{delta:g}): training on these rows is over, unless you allow more"
            )
        self._persist(lambda: self._ledger.charge(cost))
        self._journal.privacy(after, delta=delta)
        return self._trainer.train(adapter, job)
