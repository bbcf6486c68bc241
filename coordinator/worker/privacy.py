"""Central differential privacy in the worker: who may be in a merge, what it costs, and when there is nobody left.

The ledger is what commits write anyway: how many deltas of each agent were merged, and who is in each version. A merge
that the judge does not let through is published as a step of length zero, so that it counts as well; rollbacks take no
count back. Counts are read from the store for every merge, by the one worker that can commit it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping

from alignfed.errors import ParticipatedTooSoon, PrivacyBudgetSpent, Rejected
from alignfed.plan import FederationPlan
from alignfed.privacy.central import CentralPrivacy
from alignfed.privacy.noise import standard_normal
from alignfed.screening import NO_SCREENING
from coordinator.algo.judge import Judged, Verdict
from coordinator.algo.privacy.budget import epsilon_after, participations_allowed
from coordinator.algo.privacy.merge import PrivateMerge
from coordinator.domain import Contribution, Head, PrivacyRecord, QueuedDelta
from coordinator.ports import Store
from coordinator.worker.intake import Intake, refusing
from coordinator.worker.parents import Parent

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 1e12
"""Agents of a private federation are never forgotten: with their count their privacy loss would be."""


def as_private(plan: FederationPlan) -> FederationPlan:
    """Return the plan as a private federation is merged; the plan itself where it is not private.

    What compares deltas with each other would make one agent's delta decide over another's: screening and the bound on
    norms are off. A hold after gated merges stays, since it depends on what was published.
    """
    if not plan.privacy.enabled:
        return plan
    return dataclasses.replace(
        plan,
        screening=dataclasses.replace(NO_SCREENING, hold_after_gated=plan.screening.hold_after_gated),
        aggregation=dataclasses.replace(plan.aggregation, max_delta_norm_ratio=0.0),
        retention=dataclasses.replace(plan.retention, agent_seconds=REMEMBERED_SECONDS),
    )


def private_merge(plan: FederationPlan) -> PrivateMerge | None:
    """Return what private merges of a federation need; None where they are not private."""
    if not plan.privacy.enabled:
        return None
    return PrivateMerge(
        privacy=plan.privacy, buffer_size=plan.buffer.size, freeze_a=plan.lora.freeze_a, normal=standard_normal
    )


def largest_epsilon(contributions: Mapping[str, Contribution], privacy: CentralPrivacy) -> float:
    """Return the privacy loss of the agent that took part most often, revoked ones included."""
    return epsilon_after(max((each.merged for each in contributions.values()), default=0), privacy)


def standing_still(judged: Judged, parent: Parent) -> Judged:
    """Return the parent's adapters as the outcome of a merge whose candidate may not be published.

    Its deltas were used: that the candidate was bad is told to everybody. So they count as merged.
    """
    return Judged(
        verdict=Verdict(
            accepted=True,
            step_scale=0.0,
            loss_before=judged.verdict.loss_before,
            loss_after=judged.verdict.loss_before,
            serve_average=parent.record.served_average,
        ),
        adapter=parent.factors.adapter,
        average=parent.factors.average,
    )


class PrivacyLedger:
    """Keeps agents of one private federation within what the plan allows.

    Args:
        store: Where counts and versions are.
        plan: The federation's plan, with privacy enabled.

    Raises:
        PlanInvalid: The plan allows nobody to take part.
        RequestInvalid: The package that counts is not installed.
    """

    def __init__(self, store: Store, plan: FederationPlan) -> None:
        self._store = store
        self._plan = plan
        self._privacy = plan.privacy
        self._allowed = participations_allowed(plan.privacy)
        self._most = 0

    async def admit(self, intake: Intake, head: Head) -> Intake:
        """Return the intake with those among its rejections that have taken part too often, or too lately.

        Of several deltas of one agent the first that was accepted stays.

        Raises:
            StoreUnreachable: The store went away; nothing was settled.
        """
        lately = await self._lately(head)
        contributions = await self._store.agents.contributions(self._plan.federation)
        self._most = max((each.merged for each in contributions.values()), default=0)
        refused: dict[str, Rejected] = {}
        seen: set[str] = set()
        for queued in sorted(intake.accepted, key=lambda one: (one.delta.accepted_at, one.delta.delta_id)):
            error = self._refusal(queued, intake.merged_by_agent, lately, seen)
            if error is not None:
                refused[queued.delta.delta_id] = error
            else:
                seen.add(queued.delta.agent_id)
        return refusing(intake, refused)

    def record(self, intake: Intake) -> PrivacyRecord:
        """Return what a merge of these deltas makes of the largest privacy loss of any agent."""
        here = {queued.delta.agent_id for queued in intake.accepted}
        most = max(self._most, *(1 + intake.merged_by_agent[agent] for agent in here))
        privacy = self._privacy
        return PrivacyRecord(
            epsilon=epsilon_after(most, privacy),
            delta=privacy.delta,
            participations=most,
            noise_multiplier=privacy.noise_multiplier,
            clip_norm=privacy.clip_norm,
        )

    async def hold_when_spent(self) -> bool:
        """Put the federation on hold when no agent may take part any more; return whether that is so."""
        name = self._plan.federation
        counts = await self.participations()
        if not counts or min(counts.values()) < self._allowed:
            return False
        if not (await self._store.versions.head(name)).paused:
            reason = (
                f"the privacy budget is spent: every agent took part {self._allowed} times, and once more would cost "
                f"more than privacy.max_epsilon = {self._privacy.max_epsilon:g} or privacy.max_participations allows; "
                "resume when new agents have joined, or create another federation"
            )
            await self._store.federations.set_paused(name, True, reason=reason)
            log.warning("federation on hold", extra={"federation": name, "detail": reason})
        return True

    async def participations(self) -> dict[str, int]:
        """Return in how many merges each agent that is not revoked took part."""
        name = self._plan.federation
        contributions = await self._store.agents.contributions(name)
        members = [agent.agent_id for agent in await self._store.agents.list(name) if not agent.revoked]
        return {agent: contributions[agent].merged if agent in contributions else 0 for agent in members}

    async def _lately(self, head: Head) -> dict[str, int]:
        """Return the newest version that each agent is in, of those that keep it out of the next one."""
        count = self._privacy.min_separation_versions - 1
        if count == 0:
            return {}
        versions = await self._store.versions.list(self._plan.federation, before=head.id.number + 1, limit=count)
        found: dict[str, int] = {}
        for version in versions:  # newest first; also those that a rollback left behind: they were published
            for delta in version.merge.deltas if version.merge else ():
                found.setdefault(delta.agent_id, version.id.number)
        return found

    def _refusal(
        self, queued: QueuedDelta, counts: Mapping[str, int], lately: Mapping[str, int], seen: set[str]
    ) -> Rejected | None:
        agent, privacy = queued.delta.agent_id, self._privacy
        if counts[agent] >= self._allowed:
            return PrivacyBudgetSpent(
                f"agent {agent} took part in {counts[agent]} merges, as many as the plan's [privacy] allows (epsilon "
                f"{epsilon_after(counts[agent], privacy):.3g} of {privacy.max_epsilon:g}): it is done"
            )
        if agent in lately:
            return ParticipatedTooSoon(
                f"agent {agent} is in version {lately[agent]}, and privacy.min_separation_versions is "
                f"{privacy.min_separation_versions}: train again from a later version"
            )
        if agent in seen:
            return ParticipatedTooSoon(
                f"another delta of agent {agent} is in this merge, and a private one takes one of each: set "
                "training.wait_for_version in the next plan"
            )
        return None
