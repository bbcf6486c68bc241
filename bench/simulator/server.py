"""The simulated coordinator and worker: the production policy, aggregation and judge, with memory for a store."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence

from alignfed.codec import Factors
from alignfed.errors import CandidateGated
from alignfed.plan import Buffer, Encoding
from bench.simulator.probe import CountingProbe, Passes
from bench.simulator.scenario import PLAIN, Guard, Scenario, Settled, View
from coordinator import policy
from coordinator.algo.aggregate import DELTA_FAULTS, aggregate
from coordinator.algo.judge import Judged
from coordinator.algo.recipe import Recipe
from coordinator.algo.succession import Judging, Parent, succeed
from coordinator.algo.values import Aggregated, AggregationInput, DeltaInput, Load, ServerState
from coordinator.domain import BlobRef, DeltaRecord, MergedDelta, QueuedDelta, VersionId
from coordinator.worker.probes import Probe

_FEDERATION = "simulated"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the server merges; `probe` is None for recipes that use no calibration set.

    Only recipes that calibrate coefficients are judged and may serve the moving average, as the worker does. All others
    are simulated as published, so that two which differ in the alignment differ in nothing else.
    """

    recipe: Recipe
    server_learning_rate: float
    buffer: Buffer
    probe: Probe | None
    scenario: Scenario = PLAIN


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A delta on its way: `load` brings its factors, trained only when they are needed."""

    agent_id: str
    base: int
    examples: int
    rank: int | None
    load: Load


class SimulatedServer:
    """Owns the versions, the buffer and the participation counts of one run.

    Args:
        settings: How to merge.
        initial: The adapter of version 0.
        agents: Every agent's id.
    """

    def __init__(self, settings: ServerSettings, initial: Factors, agents: Sequence[str]) -> None:
        self._settings = settings
        self._waiting: list[policy.Waiting] = []
        self._loads: dict[str, Upload] = {}
        self._state: ServerState = {}
        self._judged: float | None = None
        self.versions: list[Factors] = [initial]
        self.average = initial
        self.serves_average = False
        self.merged_by_agent = dict.fromkeys(agents, 0)
        self.merged: list[MergedDelta] = []
        self._norms: list[tuple[float, ...]] = []
        self.gated = 0
        self.seconds = 0.0
        self.guard_seconds = 0.0
        self.training_seconds = 0.0
        self.passes = Passes()

    @property
    def head(self) -> int:
        """Number of the newest version."""
        return len(self.versions) - 1

    def accept(self, upload: Upload, *, now: float) -> None:
        """Put an arrived delta into the queue."""
        delta_id = f"delta-{len(self._loads):06d}"
        self._loads[delta_id] = upload
        record = DeltaRecord(
            federation=_FEDERATION,
            agent_id=upload.agent_id,
            delta_id=delta_id,
            base=_identity(upload.base),
            examples=upload.examples,
            local_steps=1,
            encoding=Encoding.BF16,
            rank=upload.rank or 1,
            payload=BlobRef(blob_id=delta_id, total_bytes=0, part_bytes=1, sha256=""),
            accepted_at=now,
        )
        queued = QueuedDelta(entry_id=delta_id, delta=record, attempts=0)
        self._waiting.append(policy.Waiting(queued=queued, since_seconds=now))

    def run_policy(self, *, now: float) -> float | None:
        """Merge as long as the policy says so; return when to ask again, None for when the next delta arrives."""
        while True:
            decision = policy.decide(tuple(self._waiting), self._settings.buffer, now_seconds=now, paused=False)
            if not isinstance(decision, policy.Merge):
                seconds = decision.seconds if isinstance(decision, policy.Wait) else None
                return None if seconds is None else now + seconds
            chosen = {queued.entry_id for queued in decision.deltas}
            self._waiting = [entry for entry in self._waiting if entry.queued.entry_id not in chosen]
            started = time.perf_counter()
            trained = [self._input(queued) for queued in decision.deltas]
            for delta in trained:
                delta.load()  # local training is not the server's time
            self.training_seconds += time.perf_counter() - started
            started = time.perf_counter()
            self._merge_guarded(trained)
            self.seconds += time.perf_counter() - started

    def _merge_guarded(self, deltas: Sequence[DeltaInput]) -> None:
        for guard in self._settings.scenario.defence.guards:
            deltas = self._passed(guard, deltas)
        if deltas:
            self._merge(deltas)

    def _passed(self, guard: Guard, deltas: Sequence[DeltaInput]) -> Sequence[DeltaInput]:
        """Return the deltas that a guard lets pass, as it leaves them; the others are settled."""
        started = time.perf_counter()
        view = View(
            head=self.versions[-1],
            base_factors=lambda base: self.versions[base.number],
            recent_norms=[size for norms in self._norms for size in norms],
            merged_by_agent=self.merged_by_agent,
            merged_ids=lambda: {delta.delta_id for delta in self.merged},
            probe=self._probe,
            version_number=self.head + 1,
            judging=lambda: self._judging(self._probe()),
        )
        guarded = guard(deltas, view)
        self.guard_seconds += time.perf_counter() - started
        for delta in deltas:
            if delta.delta_id in guarded.rejected:
                self._reject([delta], guarded.rejected[delta.delta_id])
        return guarded.kept

    def _merge(self, deltas: Sequence[DeltaInput]) -> None:
        recipe, probe = self._settings.recipe, self._probe()
        try:
            aggregated = aggregate(self._inputs(deltas, probe), recipe)
            parent = Parent(adapter=self.versions[-1], average=self.average)
            judged = succeed(parent, aggregated, version_number=self.head + 1, judging=self._judging(probe))
        except DELTA_FAULTS as error:
            culprit = error.metadata.get("delta_id")
            others = [delta for delta in deltas if delta.delta_id != culprit]
            self._reject([delta for delta in deltas if delta.delta_id == culprit] or deltas, error.reason)
            if others and len(others) < len(deltas):
                self._merge(others)
            return
        except CandidateGated:
            self._gate(deltas)
            return
        if not judged.verdict.accepted:
            self._gate(deltas)
            return
        self._publish(aggregated, judged)

    def _gate(self, deltas: Sequence[DeltaInput]) -> None:
        """Try again without those that the defence suspects, else give the buffer up."""
        self.gated += 1
        suspect = self._settings.scenario.defence.gated
        others = self._passed(suspect, deltas) if suspect is not None else deltas
        if others and len(others) < len(deltas):
            self._merge(others)
        else:
            self._reject(others, CandidateGated.reason)

    def _reject(self, deltas: Sequence[DeltaInput], reason: str) -> None:
        for delta in deltas:
            self._settings.scenario.told(
                Settled(agent_id=delta.agent_id, staleness_versions=delta.staleness_versions, reason=reason)
            )

    def _probe(self) -> CountingProbe | None:
        probe = self._settings.probe
        if probe is None:
            return None
        return CountingProbe(
            probe=probe.for_version(self.head + 1),
            passes=self.passes,
            fit_rows=probe.settings.fit_rows,
            judge_rows=probe.settings.judge_rows,
        )

    def _inputs(self, deltas: Sequence[DeltaInput], probe: CountingProbe | None) -> AggregationInput:
        return AggregationInput(
            head=self.versions[-1],
            deltas=tuple(deltas),
            merged_by_agent=self.merged_by_agent,
            base_factors=lambda base: self.versions[base.number],
            server_learning_rate=self._settings.server_learning_rate,
            probe=probe,
            version_number=self.head + 1,
            state=self._state,
        )

    def _judging(self, probe: CountingProbe | None) -> Judging | None:
        judges = self._settings.scenario.defence.judges
        if probe is None or self._settings.probe is None or judges is False:
            return None
        if judges is None and self._settings.recipe.calibrate is None:
            return None
        ratio = self._settings.probe.settings.max_loss_increase_ratio
        return Judging(probe=probe, loss_before=self._judged, max_loss_increase_ratio=ratio)

    def _publish(self, aggregated: Aggregated, judged: Judged) -> None:
        self.versions.append(judged.adapter)
        self.average = judged.average
        self.serves_average = judged.verdict.serve_average or self._settings.scenario.defence.judges is False
        self._judged = judged.verdict.loss_after
        self._state = aggregated.state
        self.merged += aggregated.deltas
        norms = tuple(delta.norm for delta in aggregated.deltas)
        self._norms = [norms, *self._norms][: policy.REFERENCE_VERSIONS]
        for delta in aggregated.deltas:
            self.merged_by_agent[delta.agent_id] += 1
            self._settings.scenario.told(
                Settled(
                    agent_id=delta.agent_id,
                    staleness_versions=delta.staleness_versions,
                    coefficient=delta.coefficient,
                )
            )

    def _input(self, queued: QueuedDelta) -> DeltaInput:
        upload = self._loads[queued.entry_id]
        return DeltaInput(
            delta_id=queued.entry_id,
            agent_id=upload.agent_id,
            base=queued.delta.base,
            staleness_versions=self.head - upload.base,
            examples=upload.examples,
            load=functools.cache(upload.load),
            rank=upload.rank,
        )


def _identity(number: int) -> VersionId:
    return VersionId(epoch=1, number=number, digest=f"{number:064x}")
