"""The agent's loop: pull the head, train, form the delta, keep it, go on at once from the newest version."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable

from alignfed.errors import NonFinite, PrivacyBudgetSpent
from alignfed.tracing.spans import current_traceparent
from edge_agent.domain import GlobalVersion
from edge_agent.journal import Journal
from edge_agent.outbox.keeping import keep
from edge_agent.outbox.outbox import Outbox
from edge_agent.pace import Pace
from edge_agent.status import Activity
from edge_agent.training.delta import BaseAdapter, prepare_delta
from edge_agent.training.trainer import Trainer, TrainingJob
from edge_agent.versions import VersionSource
from edge_agent.wire.link import Link

MAX_ACKNOWLEDGED = 64
"""Deltas kept on disk while the coordinator has not merged them: beyond this, merging has stalled, and so do we."""
PACE_LOOK_SECONDS = 1.0
"""How often a wait that the coordinator asked for looks whether it still holds."""
DIVERGED_TRIES = 3
"""Training that diverges so often in a row will not get better by trying."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How the loop runs.

    Attributes:
        seed: The agent's own; decides the order of its data.
        slowdown: Pretend to be a machine this many times slower.
        max_deltas: Stop after this many deltas; None to go on for ever.
        max_pending: Stop training while so many deltas wait to be uploaded.
        train_rank: Leading LoRA components to train; None for all.
    """

    seed: int = 0
    slowdown: float = 1.0
    max_deltas: int | None = None
    max_pending: int = 8
    train_rank: int | None = None


class Agent:
    """One edge participant at work.

    Args:
        settings: How the loop runs.
        versions: Where training starts from.
        link: Knows the plan, and whether to stop.
        outbox: Where deltas go.
        journal: Is told what happens.
        pace: When the coordinator wants another delta.
    """

    def __init__(
        self,
        settings: LoopSettings,
        *,
        versions: VersionSource,
        link: Link,
        outbox: Outbox,
        journal: Journal,
        pace: Pace,
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._link = link
        self._outbox = outbox
        self._journal = journal
        self._pace = pace

    def run(self, trainer: Trainer) -> None:
        """Make deltas until `max_deltas` are made, or no more are private enough, and all are uploaded.

        Raises:
            Interrupted: The agent was told to stop; the outbox keeps what is not uploaded.
            NonFinite: Training diverged several times in a row.
            ManifestMismatch, FrozenFactorChanged, RequestInvalid: The trainer returned what was not asked for.
            AlignFedError: The coordinator rejects the agent.
        """
        made = diverged = 0
        while self._settings.max_deltas is None or made < self._settings.max_deltas:
            self._wait_for_room()
            base = self._versions.pull(wait_while=self._awaits_newer)
            if self._waits_as_asked():
                continue  # from what is the newest version then
            try:
                self._train(trainer, base, skip=diverged)
            except PrivacyBudgetSpent as error:
                self._journal.budget_spent(error)
                break
            except NonFinite as error:
                self._journal.discarded(error)
                diverged += 1
                if diverged >= DIVERGED_TRIES:
                    raise
            else:
                made, diverged = made + 1, 0
        self._journal.activity(Activity.UPLOADING)
        self._wait_until(lambda outbox: not outbox.pending)

    def _train(self, trainer: Trainer, base: BaseAdapter, *, skip: int) -> None:
        """Make one delta from `base` and keep it; `skip` goes on in the data beyond what diverged before."""
        plan, sequence = self._link.plan, self._journal.next_sequence
        job = TrainingJob(
            plan=plan,
            base=base.version,
            sequence=sequence + skip,
            seed=self._settings.seed,
            rank=self._settings.train_rank,
            should_stop=lambda: self._link.stopping,
            report=self._journal.stepped,
        )
        self._journal.activity(Activity.TRAINING)
        began = time.monotonic()
        with self._journal.training(base.version):
            result = trainer.train(base.copy(), job)
            leftovers = self._outbox.leftovers
            delta = prepare_delta(result, base, plan, sequence=sequence, rank=job.rank, leftovers=leftovers)
            try:
                self._act_slow(time.monotonic() - began)
            finally:  # what is trained is kept, even when the agent stops while it pretends to be slow
                trace = current_traceparent()
                keep(self._outbox, delta, link=self._link, journal=self._journal, trace_context=trace)
                self._journal.made(delta.meta, mean_loss=result.mean_loss)

    def _act_slow(self, seconds: float) -> None:
        """Pass the time that a slower machine would have taken longer, before the delta leaves."""
        extra = (self._settings.slowdown - 1.0) * seconds
        if extra > 0:
            self._journal.activity(Activity.SLEEPING, f"acting {self._settings.slowdown:g} times slower")
            self._link.pause(extra)

    def _awaits_newer(self, head: GlobalVersion) -> bool:
        """Whether the plan wants a newer version before the next delta: one from `head` is still under way.

        The outbox knows, so it holds after a restart; and a delta that is rejected frees the agent to try again.
        """
        return self._link.plan.training.wait_for_version and self._outbox.has_delta_from(head)

    def _waits_as_asked(self) -> bool:
        """Wait if the coordinator asks for no other delta now; return whether it did."""
        seconds = self._pace.remaining_seconds()
        if seconds <= 0:
            return False
        why = f"the coordinator asks for no other delta for {seconds:.0f} s: more of them wait than are merged soon"
        logger.info("%s", why)
        self._journal.paused(seconds)
        self._journal.activity(Activity.WAITING, why)
        while (seconds := self._pace.remaining_seconds()) > 0:
            self._link.pause(min(seconds, PACE_LOOK_SECONDS))  # an upload's answer may end the wait
        return True

    def _wait_for_room(self) -> None:
        pending, acknowledged = len(self._outbox.pending), len(self._outbox.acknowledged)
        if pending >= self._settings.max_pending:
            why = f"{pending} deltas wait to be uploaded: training pauses until the coordinator takes them"
        elif acknowledged >= MAX_ACKNOWLEDGED:
            why = f"{acknowledged} uploaded deltas wait to be merged: training pauses until merging goes on"
        elif self._outbox.full_of_acknowledged:
            why = (
                f"{acknowledged} uploaded deltas wait to be merged and fill the outbox: training pauses until some are"
            )
        else:
            return
        logger.warning("%s", why)
        self._journal.activity(Activity.WAITING, why)
        limit = self._settings.max_pending
        self._wait_until(
            lambda outbox: (
                len(outbox.pending) < limit
                and len(outbox.acknowledged) < MAX_ACKNOWLEDGED
                and not outbox.full_of_acknowledged
            )
        )

    def _wait_until(self, holds: Callable[[Outbox], bool]) -> None:
        self._outbox.wait_until(lambda outbox: self._link.stopping or holds(outbox))
        self._link.pause(0)  # leaves when stopping
