"""What `alignfed top` asks a coordinator for: a bounded number of calls per refresh, whatever the fleet's size."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from coordinator.cli.operator_views import AgentView, FederationView, VersionView

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient

MOST_FEDERATIONS = 12
"""Federations asked about per refresh; more are named in the command."""

VERSIONS = 50
"""Versions listed of the federation in view: enough for merges per minute and for a tall terminal."""

MERGES_READ = 20
"""Newest merges whose deltas make up the staleness histogram."""

MERGES_PER_REFRESH = 5
"""Merge records read per refresh: records never change, so a few refreshes catch up and then each is read once."""

AGENTS_SECONDS = 5.0
"""The fleet is listed no more often: the list is not paged, and a thousand agents are 200 kB."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One federation in a line: its state and its newest versions, newest first, without merge records."""

    view: FederationView
    versions: tuple[VersionView, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was seen at `at` (Unix seconds); `chosen` is the federation whose fleet and staleness are shown.

    `staleness` has one value per delta of the newest merges, in versions; `more` counts federations left out.
    """

    at: float
    summaries: tuple[Summary, ...] = ()
    chosen: str = ""
    staleness: tuple[int, ...] = ()
    agents: tuple[AgentView, ...] = ()
    more: int = 0

    @property
    def in_view(self) -> Summary | None:
        """The chosen federation; None when there is none."""
        return next((it for it in self.summaries if it.view.plan.federation == self.chosen), None)


class Reader:
    """Reads snapshots, remembering what never changes. Belongs to one thread.

    Args:
        federations: Those to look at; none for all.
        merges_per_refresh: Merge records read at most per refresh.
    """

    def __init__(self, federations: tuple[str, ...], *, merges_per_refresh: int = MERGES_PER_REFRESH) -> None:
        self._wanted = federations
        self._merges_per_refresh = merges_per_refresh
        self._staleness: dict[tuple[str, int, int], tuple[int, ...]] = {}
        self._agents: dict[str, tuple[float, tuple[AgentView, ...]]] = {}

    def read(self, client: OperatorClient, chosen: str) -> Snapshot:
        """Return what the coordinator says now.

        Args:
            client: Connected to it.
            chosen: The federation in view; the first one when empty or gone.

        Raises:
            AlignFedError: It does not answer, or a named federation does not exist.
        """
        names = list(self._wanted) or client.federations()
        shown = names[:MOST_FEDERATIONS]
        if chosen not in shown:
            chosen = shown[0] if shown else ""
        summaries = tuple(
            Summary(view=client.federation(name), versions=tuple(client.versions(name, limit=VERSIONS)))
            for name in shown
        )
        snapshot = Snapshot(at=time.time(), summaries=summaries, chosen=chosen, more=len(names) - len(shown))
        in_view = snapshot.in_view
        if in_view is None:
            return snapshot
        return dataclasses.replace(
            snapshot, staleness=self._read_staleness(client, chosen, in_view), agents=self._read_agents(client, chosen)
        )

    def _read_staleness(self, client: OperatorClient, name: str, summary: Summary) -> tuple[int, ...]:
        merges = [version for version in summary.versions if version.deltas][:MERGES_READ]
        keys = [(name, version.id.number, version.id.epoch) for version in merges]
        for key in [key for key in keys if key not in self._staleness][: self._merges_per_refresh]:
            merge = client.version(name, key[1]).merge
            deltas = () if merge is None else merge.deltas
            self._staleness[key] = tuple(delta.staleness_versions for delta in deltas)
        self._staleness = {
            key: found for key, found in self._staleness.items() if key[0] != name or key in keys
        }  # forget what has left the view
        return tuple(staleness for key in keys for staleness in self._staleness.get(key, ()))

    def _read_agents(self, client: OperatorClient, name: str) -> tuple[AgentView, ...]:
        read_at, agents = self._agents.get(name, (0.0, ()))
        if time.monotonic() - read_at >= AGENTS_SECONDS or not agents:
            agents = tuple(client.agents(name))
            self._agents = {name: (time.monotonic(), agents)}
        return agents
