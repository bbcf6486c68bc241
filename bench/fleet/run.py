"""One run: a deployment, a fleet that arrives, stretches that are measured, an orderly end, and an account of all."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alignfed.errors import LocalProcessFailed
from alignfed.plan import FederationPlan
from bench.fleet.account import Account, account_of, missing_from, total_of
from bench.fleet.balance import accepted_by, process_of
from bench.fleet.crowds import Crowds, crowds_running
from bench.fleet.deployment import Deployment, create_federations, embedded, leaders_of, wait_for_leaders
from bench.fleet.draws import Habits
from bench.fleet.knee import Knee, KneeRule, ends_at
from bench.fleet.machine import allow_files, usages_of
from bench.fleet.payloads import write_payloads
from bench.fleet.records import Published, published, together
from bench.fleet.settings import FleetSettings
from bench.fleet.stretch import Look, Stretch
from coordinator.cli.operator_client import OperatorClient
from coordinator.local.processes import Supervisor

PREFIX = "light"
SAY_SECONDS = 2.0
ARRIVAL_SECONDS = 120.0
"""How long after the ramp the last agent may register: a coordinator that is busy takes them up one after the other."""
DRAIN_SECONDS = 60.0
DRAIN_LOOK_SECONDS = 2.0
"""A federation with ten thousand agents takes the coordinator a second to describe: it is asked seldom."""
OPERATOR_SECONDS = 120.0
"""Deadline of operators' calls: the list of ten thousand agents from a coordinator under full load takes its time."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What came of one federation.

    Attributes:
        federation: Its name.
        leader: The process that merged for it at the end, or its worker's id where it runs elsewhere; empty for none.
        account: What became of every delta.
        published: Every version.
    """

    federation: str
    leader: str
    account: Account
    published: Published


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that one run has found out.

    Attributes:
        settings: The fleet.
        registered: Agents that took part.
        alone: The deployment before the first agent came.
        stretches: What was measured: one, or the steps towards the knee.
        knee: Where throughput stops growing; None when it was not looked for, or not found within the steps.
        whole: From the fleet's beginning to the last look, with all news.
        parts: What came of each federation.
        accepted_by: Deltas that each coordinator has accepted, as far as they run here.
        tier_of: Name of each agent's tier.
    """

    settings: FleetSettings
    registered: int
    alone: Look
    stretches: tuple[Stretch, ...]
    knee: Knee | None
    whole: Stretch
    parts: tuple[Part, ...]
    accepted_by: dict[str, int]
    tier_of: dict[str, str]

    @property
    def account(self) -> Account:
        """What became of every delta of every federation."""
        return total_of(part.account for part in self.parts)

    @property
    def published(self) -> Published:
        """Every version of every federation."""
        return together(part.published for part in self.parts)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="alignfed-fleet-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run_fleet(
    settings: FleetSettings,
    *,
    say: Say,
    existing: Deployment | None = None,
    rule: KneeRule | None = None,
) -> Outcome:
    """Drive a fleet against a deployment and return what came of it.

    Args:
        settings: The fleet.
        say: Told how it goes, a line at a time.
        existing: The deployment; None to start one here and end it.
        rule: How the knee is looked for; None to measure one stretch at the settings' own rate.

    Raises:
        RequestInvalid: The system does not allow as many open files as the connections need.
        LocalProcessFailed: A process ended by itself, or does not answer.
        CoordinatorUnreachable: Nobody answers operators.
    """
    allow_files(settings.processes * settings.connections)
    with _folder() as folder, Supervisor() as supervisor, contextlib.ExitStack() as stack:
        deployment = existing or stack.enter_context(
            embedded(supervisor, folder / "deployment", coordinators=settings.coordinators, workers=settings.workers)
        )
        client = stack.enter_context(OperatorClient(deployment.operator_address, call_seconds=OPERATOR_SECONDS))
        plans = create_federations(client, settings)
        names = [plan.federation for plan in plans]
        wait_for_leaders(client, names, check=supervisor.check)
        say(f"{', '.join(names)} on {deployment.agent_address}, {settings.merged_at_once} deltas a merge")
        run = _Run(settings, deployment, client, plans, supervisor, say)
        return asyncio.run(run.whole(folder, rule))


class _Run:
    """What the parts of one run share."""

    def __init__(
        self,
        settings: FleetSettings,
        deployment: Deployment,
        client: OperatorClient,
        plans: list[FederationPlan],
        supervisor: Supervisor,
        say: Say,
    ) -> None:
        self._settings = settings
        self._deployment = deployment
        self._client = client
        self._form = plans[0]
        self._names = [plan.federation for plan in plans]
        self._supervisor = supervisor
        self._say = say
        self._began = time.monotonic()

    async def whole(self, folder: Path, rule: KneeRule | None) -> Outcome:
        """Do everything from the first process to the account."""
        fleet = self._settings
        payloads = write_payloads(folder / "payloads", self._form)
        async with crowds_running(self._supervisor, folder / "logs", processes=fleet.processes) as crowds:
            alone = await self._look(crowds)
            await crowds.order(
                "begin",
                settings=fleet.to_dict(),
                address=self._deployment.agent_address,
                federations=self._names,
                prefix=PREFIX,
                payloads=[str(path) for path in payloads],
                chunk_bytes=self._form.limits.chunk_bytes,
            )
            registered = await self._arrived(crowds)
            first = await self._look(crowds)
            stretches, knee = await (self._steps(crowds, rule) if rule else self._steady(crowds))
            last = await self._look(crowds)
            parts = await self._end(crowds)
            accepted = await asyncio.to_thread(accepted_by, self._deployment.metrics)
        return Outcome(
            settings=fleet,
            registered=registered,
            alone=alone,
            stretches=stretches,
            knee=knee,
            whole=Stretch(factor=1.0, before=first, after=last),
            parts=parts,
            accepted_by=accepted,
            tier_of={f"{PREFIX}-{number}": Habits(fleet, number).profile.tier.name for number in range(fleet.agents)},
        )

    async def _arrived(self, crowds: Crowds) -> int:
        """Wait until every agent has registered."""
        deadline = time.monotonic() + self._settings.ramp_seconds + ARRIVAL_SECONDS
        while (registered := (await crowds.counts())[0]["registered"]) < self._settings.agents:
            if time.monotonic() > deadline:
                raise LocalProcessFailed(
                    f"{registered} of {self._settings.agents} agents registered within {ARRIVAL_SECONDS:.0f} s after "
                    "the ramp: use fewer, or a longer --ramp"
                )
            await self._pass(crowds, SAY_SECONDS)
        return registered

    async def _steady(self, crowds: Crowds) -> tuple[tuple[Stretch, ...], None]:
        before = await self._look(crowds)
        await self._pass(crowds, self._settings.seconds)
        return (Stretch(factor=1.0, before=before, after=await self._look(crowds)),), None

    async def _steps(self, crowds: Crowds, rule: KneeRule) -> tuple[tuple[Stretch, ...], Knee | None]:
        """Double the rate until it does not pay any more."""
        steps: list[Stretch] = []
        knee: Knee | None = None
        while knee is None and len(steps) < rule.steps:
            factor = 2.0 ** len(steps)
            await crowds.order("pace", factor=factor)
            await self._pass(crowds, rule.settle_seconds)
            before = await self._look(crowds)
            await self._pass(crowds, rule.step_seconds)
            steps.append(Stretch(factor=factor, before=before, after=await self._look(crowds)))
            knee = ends_at(steps, rule)
            self._say(
                f"step {len(steps)}: {factor:g}x, {steps[-1].per_second('acknowledged'):.1f} deltas/s acknowledged"
            )
        return tuple(steps), knee

    async def _pass(self, crowds: Crowds, seconds: float) -> None:
        """Let time pass, and say how it goes."""
        ends_at = time.monotonic() + seconds
        (last, _), last_at = await crowds.counts(), time.monotonic()
        while (left := ends_at - time.monotonic()) > 0:
            await asyncio.sleep(min(SAY_SECONDS, left))
            self._supervisor.check()
            (counts, head), now = await crowds.counts(), time.monotonic()
            rate = (counts["acknowledged"] - last["acknowledged"]) / (now - last_at)
            told = (counts["watch_events"] + counts["long_polls"] - last["watch_events"] - last["long_polls"]) / (
                now - last_at
            )
            self._say(
                f"{now - self._began:4.0f} s  {counts['online'] - counts['gone']} agents  {rate:.1f} deltas/s "
                f"acknowledged  {told:.0f} watch events and long polls/s  version {head}"
            )
            last, last_at = counts, now

    async def _look(self, crowds: Crowds) -> Look:
        figures, busiest_seconds = await crowds.figures()
        usages = usages_of(self._deployment.pids)
        at = time.time()
        return Look(
            at=at,
            figures=figures,
            busiest_seconds=busiest_seconds,
            usages=usages,
            queued=await self._queued(),
        )

    async def _queued(self) -> int:
        views = [await asyncio.to_thread(self._client.federation, name) for name in self._names]
        return sum(view.queued for view in views)

    async def _end(self, crowds: Crowds) -> tuple[Part, ...]:
        """End the fleet, let the worker merge what waits, and account for every delta."""
        self._say("ending: no new deltas")
        ends: list[dict[str, Any]] = await crowds.order("end")
        crashed = [line for end in ends for line in end["crashed"]]
        if crashed:
            raise LocalProcessFailed(f"{len(crashed)} light agents failed: {crashed[0]}")
        await self._drained()
        leaders = await asyncio.to_thread(leaders_of, self._client, self._names)
        return tuple([await self._part(crowds, ends, name, leaders.get(name, "")) for name in self._names])

    async def _part(self, crowds: Crowds, ends: list[dict[str, Any]], federation: str, leader: str) -> Part:
        """Account for every delta of one federation."""
        await asyncio.to_thread(self._client.pause, federation)
        found = await asyncio.to_thread(published, self._client, federation)
        acknowledged = [delta_id for end in ends for delta_id in end["acknowledged"][federation]]
        fates: dict[str, str] = {}
        for answer in await crowds.order("fates", delta_ids=missing_from(acknowledged, found.merged)):
            fates |= answer["fates"]
        unanswered = sum(end["unanswered"][federation] for end in ends)
        return Part(
            federation=federation,
            leader=process_of(leader, self._deployment.pids),
            account=account_of(acknowledged, found.merged, fates, unanswered=unanswered),
            published=found,
        )

    async def _drained(self) -> None:
        """Wait until nothing is queued, or for long enough: what still is counts as queued."""
        deadline = time.monotonic() + max(DRAIN_SECONDS, 2 * self._settings.buffer_seconds)
        while time.monotonic() < deadline:
            if await self._queued() == 0:
                return
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
