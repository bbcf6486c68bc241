"""One command's work on one run: create or find the federation, train it to its target, wind down."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from alignfed.errors import CoordinatorUnreachable, FederationExists, UnknownFederation
from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.resolution import resolve
from coordinator.local.cluster import COORDINATOR, WORKER, Cluster
from coordinator.local.processes import Supervisor
from coordinator.local.progress import Pace, progress_for
from coordinator.local.run_record import RunFolder, RunRecord
from coordinator.local.setup import plan_of
from coordinator.local.watch import Snapshot, Watcher

LOOK_SECONDS = 0.5
"""How often progress is read: three small calls, and one small file per agent."""
WORKER_GRACE_SECONDS = 20.0
"""Time for the worker to finish the merge it is in when the run has reached its target."""

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What the work needs.

    Attributes:
        folder: The run's folder.
        record: What the run consists of.
        supervisor: Owns the processes.
        cluster: Starts them.
        client: Of the coordinator; used once it is started.
        say: Told what happens, one line at a time.
    """

    folder: RunFolder
    record: RunRecord
    supervisor: Supervisor
    cluster: Cluster
    client: OperatorClient
    say: Say

    def start(self, *, versions: int, resumed: bool) -> int:
        """Start every process, creating the federation if the run has none yet.

        Args:
            versions: Versions wanted; see `next_target`.
            resumed: Whether the federation may exist already.

        Returns:
            The version to reach.

        Raises:
            LocalProcessFailed: A process did not get ready.
            FederationExists: A new run's federation is in a store that has one of that name.
            Rejected: The federation cannot be created.
        """
        base_model = Path(self.record.base_model)
        self.cluster.start_coordinator()
        head = self._found_head() if resumed else None
        if head is None:
            head = self._create(versions)
        target = next_target(head, versions, reported=self.folder.report.exists())
        self.cluster.start_worker(base_model)
        self.cluster.start_agents(self.record.federation, base_model, self.record.agents)
        self.say(
            f"running {len(self.record.agents)} agents from version {head} to {target}; operators: "
            f"--operator {self.cluster.operator_address}"
        )
        metrics = ", ".join(f"{name} http://{address}/metrics" for name, address in self.cluster.metrics.items())
        self.say(f"status page: http://{self.cluster.metrics[COORDINATOR]}/#{self.record.federation}")
        self.say(f"metrics: {metrics}; logs: {self.folder.log(COORDINATOR).parent}")
        return target

    def train(self, target: int) -> None:
        """Show progress until the federation has reached version `target`.

        Raises:
            LocalProcessFailed: A process ended by itself.
        """
        watcher = Watcher(self.client, self.record.federation, folder=self.folder, agents=self.record.agents)
        with progress_for(Pace(self._look(watcher).version, target)) as progress:
            while True:
                snapshot = self._look(watcher)
                progress.show(snapshot)
                if snapshot.version >= target:
                    return
                time.sleep(LOOK_SECONDS)

    def stop_training(self) -> None:
        """Stop merging, agents and worker; what is queued stays in the store, for a resumption."""
        self.client.pause(self.record.federation)  # at once, so that the head stays near the target
        self.supervisor.stop([agent.agent_id for agent in self.record.agents])
        self.supervisor.stop([WORKER], grace_seconds=WORKER_GRACE_SECONDS)

    def keep_running(self) -> None:
        """Watch over the processes until interrupted.

        Raises:
            LocalProcessFailed: A process ended by itself.
            KeyboardInterrupt: As intended.
        """
        self.say(f"still running (operators: --operator {self.cluster.operator_address}); stop with Ctrl-C")
        while True:
            self.supervisor.check()
            time.sleep(LOOK_SECONDS)

    def _look(self, watcher: Watcher) -> Snapshot:
        self.supervisor.check()
        try:
            return watcher.look()
        except CoordinatorUnreachable:
            self.supervisor.check()  # tells better what happened, if the coordinator has ended
            raise

    def _found_head(self) -> int | None:
        try:
            return self.client.resume(self.record.federation).id.number
        except UnknownFederation:  # interrupted before it was created
            return None

    def _create(self, versions: int) -> int:
        new = resolve(plan_of(self.record, versions=versions), base_model=Path(self.record.base_model))
        try:
            return self.client.create_federation(new.plan, new.adapter, new.calibration).id.number
        except FederationExists as error:
            raise FederationExists(f"{error.message}; or name this run's federation with --federation") from error


def next_target(head: int, versions: int, *, reported: bool) -> int:
    """Return the version to reach: `versions` in all, or so many more for a run that has them and has reported.

    Args:
        head: Where the run is.
        versions: Versions wanted.
        reported: Whether the run has a report already.
    """
    if versions > head or not reported:
        return max(head, versions)
    return head + versions
