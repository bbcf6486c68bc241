"""One run: agents that come, train and upload on a virtual clock, a server that merges, and evaluations on the way.

Merging takes no virtual time: what it costs in real seconds is measured and reported apart.
"""

from __future__ import annotations

import dataclasses
import functools
import heapq
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping

from alignfed.codec import Factors
from alignfed.errors import PlanInvalid
from alignfed.plan import Buffer
from bench.federation.federation import Federation
from bench.federation.fleet import Agent, Layout, make_fleet
from bench.federation.regimes import Regime
from bench.results import AgentOutcome, Losses, Point, RunKey, RunResult, ServerCost
from bench.simulator.engine import Engine
from bench.simulator.local_training import LocalJob, LocalSettings
from bench.simulator.presence import Availability
from bench.simulator.scenario import PLAIN, Scenario, Trained
from bench.simulator.server import ServerSettings, SimulatedServer, Upload
from bench.simulator.wire import Wire, WireForm
from bench.simulator.workshop import Workshop
from coordinator import policy
from coordinator.algo.recipe import Recipe

SPIKE_RATIO = 1.05
"""A loss this much above the best before it is a spike."""
MOST_JOBS_PER_PASS = 16

Scorer = Callable[[Factors], Mapping[str, float]]
"""What an adapter solves, by measure: shares in [0, 1]."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What to simulate."""

    regime: Regime
    layout: Layout
    recipe: Recipe
    server_learning_rate: float
    seed: int
    variant: str = ""

    def key(self, federation: Federation) -> RunKey:
        """Return the run's identity on a federation."""
        return RunKey(
            federation=federation.digest,
            regime=self.regime.name,
            layout=self.layout.value,
            recipe=self.recipe.name,
            server_learning_rate=self.server_learning_rate,
            seed=self.seed,
            variant=self.variant,
        )


def simulate(
    setup: Setup,
    engine: Engine,
    *,
    score: Scorer | None = None,
    scenario: Scenario = PLAIN,
    wire: Wire | None = None,
) -> RunResult:
    """Run one setup to its end.

    Args:
        setup: What to simulate.
        engine: The federation's models.
        score: Asked once, about the adapter that is served at the last evaluation.
        scenario: Who is not honest, and what the server does about it.
        wire: What carries deltas, one per run; None for bf16, the default of plans.

    Raises:
        DataUnusable: The data do not suffice for the regime's agents.
        PlanInvalid: A tier's rank is above the adapter's.
        CalibrationMissing: The recipe needs calibration rows that the federation lacks.
    """
    simulation = _Simulation(setup, engine, scenario, wire or Wire(WireForm()))
    result = simulation.run()
    return result if score is None else dataclasses.replace(result, solved=dict(score(simulation.served)))


@dataclasses.dataclass(slots=True)
class _Machine:
    """An agent at work."""

    agent: Agent
    availability: Availability
    random: random.Random
    deltas: int = 0
    waits_for: int | None = None


class _Simulation:
    """Owns the events of one run."""

    def __init__(self, setup: Setup, engine: Engine, scenario: Scenario, wire: Wire) -> None:
        federation, regime, recipe = engine.federation, setup.regime, setup.recipe
        self._setup, self._engine, self._scenario, self._wire = setup, engine, scenario, wire
        if any((tier.rank or 0) > federation.lora.rank for tier in regime.tiers):
            raise PlanInvalid(
                f"regime {regime.name} has a tier of a higher rank than the adapter's, {federation.lora.rank}"
            )
        agents = make_fleet(regime, setup.layout, federation.domains, seed=setup.seed)
        self._machines = {
            agent.agent_id: _Machine(
                agent=agent,
                availability=Availability(regime.presence, seed=agent.seed),
                random=random.Random(f"machine:{agent.seed}"),  # noqa: S311  # a simulation, not a secret
            )
            for agent in agents
        }
        buffer = Buffer(size=regime.buffer_size, timeout_seconds=regime.buffer_timeout_seconds)
        self._server = SimulatedServer(
            ServerSettings(
                recipe=recipe,
                server_learning_rate=setup.server_learning_rate,
                buffer=policy.buffer_for(buffer, len(agents) if recipe.fleet.synchronous else recipe.buffer_size),
                probe=engine.probe(setup.variant) if recipe.needs_probe else None,
                scenario=scenario,
            ),
            engine.initial(setup.seed),
            [agent.agent_id for agent in agents],
        )
        self._training = LocalSettings(
            local_steps=regime.local_steps,
            batch_size=federation.batch_size,
            learning_rate=federation.learning_rate,
            freeze_a=recipe.fleet.freeze_a,
            representation_penalty=federation.representation_penalty,
        )
        self._workshop = Workshop(engine.stacked, self._training, most=MOST_JOBS_PER_PASS)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._now = 0.0
        self._curve: list[Point] = []
        self.served = self._server.average
        """What was served at the last evaluation."""

    def run(self) -> RunResult:
        base = self._evaluate_initial()
        end = self._setup.regime.duration_seconds
        for share in self._scenario.evaluation_shares:
            self._at(end * share, self._evaluate)
        for machine in self._machines.values():
            self._at(0.0, functools.partial(self._start, machine))
        while self._events and self._events[0][0] <= end:
            self._now, _, event = heapq.heappop(self._events)
            event()
        return self._result(base)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        self._scheduled += 1  # events of one moment happen in the order they were scheduled
        heapq.heappush(self._events, (when, self._scheduled, event))

    def _start(self, machine: _Machine) -> None:
        """Begin a job if the machine is there, else when it is."""
        ready = machine.availability.next_available(self._now)
        if ready > self._now:
            self._at(ready, functools.partial(self._start, machine))
            return
        regime, agent = self._setup.regime, machine.agent
        base, sequence = self._server.head, machine.deltas
        machine.deltas += 1
        jitter = math.exp(regime.jitter_ratio * machine.random.gauss(0.0, 1.0) - regime.jitter_ratio**2 / 2)
        done = self._now + regime.network.download_seconds + regime.job_seconds / agent.speed * jitter
        leaves = machine.availability.leaves_at(self._now)
        if leaves < done:  # the machine goes away with the job in hand
            self._at(leaves, functools.partial(self._start, machine))
            return
        job = self._workshop.begin(
            LocalJob(
                base=self._server.versions[base],
                rows=self._scenario.conduct.rows(agent, self._engine.sequences(agent.rows)),
                seed=agent.seed,
                sequence=sequence,
                learning_rate_ratio=agent.learning_rate_ratio,
                rank=agent.rank,
            )
        )
        self._at(done, functools.partial(self._finish, machine, job, base))

    def _finish(self, machine: _Machine, job: int, base: int) -> None:
        """Send the delta off; go on training meanwhile, unless the recipe makes agents wait for each other."""
        network = self._setup.regime.network
        lost = machine.random.random() < network.lost_ratio
        if lost:
            self._workshop.abandon(job)
        else:
            arrive = functools.partial(self._arrive, machine.agent, job, base)
            self._at(self._now + network.upload_seconds, arrive)
        if self._setup.recipe.fleet.synchronous and not lost:
            machine.waits_for = base + 1
        else:
            self._start(machine)

    def _arrive(self, agent: Agent, job: int, base: int) -> None:
        take = functools.partial(self._wire.carry, agent.agent_id, functools.partial(self._workshop.take, job))
        load = self._scenario.conduct.send(Trained(agent=agent, base=base, versions=self._server.versions, load=take))
        if load is None:
            self._workshop.abandon(job)
            return
        self._server.accept(
            Upload(
                agent_id=agent.agent_id,
                base=base,
                examples=self._training.local_steps * self._training.batch_size,
                rank=agent.rank,
                load=load,
            ),
            now=self._now,
        )
        self._merge()

    def _merge(self) -> None:
        again = self._server.run_policy(now=self._now)
        if again is not None:
            self._at(max(again, math.nextafter(self._now, math.inf)), self._merge)
        for machine in self._machines.values():
            if machine.waits_for is not None and self._server.head >= machine.waits_for:
                machine.waits_for = None
                self._at(self._now, functools.partial(self._start, machine))

    def _evaluate_initial(self) -> Losses:
        initial = self._server.versions[0]
        untouched: Factors = {name: tensor * 0 for name, tensor in initial.items()}
        return self._engine.evaluate({"base": untouched})["base"]

    def _evaluate(self) -> None:
        raw, average = self._server.versions[-1], self._server.average
        losses = self._engine.evaluate({"raw": raw, "average": average})
        self.served = average if self._server.serves_average else raw
        self._curve.append(
            Point(
                virtual_seconds=self._now,
                version=self._server.head,
                raw=losses["raw"],
                average=losses["average"],
                serves_average=self._server.serves_average,
            )
        )

    def _result(self, base: Losses) -> RunResult:
        server = self._server
        served = [point.served.mean_test for point in self._curve]
        return RunResult(
            key=self._setup.key(self._engine.federation),
            base=base,
            curve=tuple(self._curve),
            agents=tuple(self._outcome(machine.agent) for machine in self._machines.values()),
            staleness={
                str(versions): count
                for versions, count in sorted(Counter(delta.staleness_versions for delta in server.merged).items())
            },
            merges=server.head,
            gated=server.gated,
            spikes=sum(loss > SPIKE_RATIO * min(served[:i]) for i, loss in enumerate(served) if i),
            diverged=not served[-1] <= base.mean_test,
            server=ServerCost(
                seconds=server.seconds,
                forward_rows=server.passes.forward_rows,
                backward_rows=server.passes.backward_rows,
                guard_seconds=server.guard_seconds,
            ),
            training_seconds=server.training_seconds,
        )

    def _outcome(self, agent: Agent) -> AgentOutcome:
        own = [delta for delta in self._server.merged if delta.agent_id == agent.agent_id]
        final = self._curve[-1].served.test
        return AgentOutcome(
            agent_id=agent.agent_id,
            domains=agent.domains,
            speed=agent.speed,
            merged=len(own),
            weight=math.fsum(delta.weight for delta in own),
            coefficient=math.fsum(delta.coefficient for delta in own),
            test_loss=math.fsum(share * final[domain] for domain, share in agent.domains.items()),
        )
