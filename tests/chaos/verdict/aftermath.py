"""What agents were told against the history that leads to the head, for stores that may take back what they said."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from coordinator.domain import VersionId, VersionKind, VersionRecord
from tests.chaos.harness.journals import ACKNOWLEDGED, read_events
from tests.chaos.harness.settling import held
from tests.chaos.verdict.oracle import Verdict

PULL_REASONS = frozenset(
    {"BASE_VERSION_UNKNOWN", "BASE_VERSION_OTHER_BRANCH", "BASE_VERSION_IN_FUTURE", "BASE_VERSION_TOO_OLD"}
)
"""What a delta from a version that is no part of the history may be refused for: each says to pull the head."""
RESENDING = "the coordinator has lost a delta"
REJECTED = "delta is rejected"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentsEvidence:
    """What agents know.

    Attributes:
        acknowledged: Ids of deltas of which an agent was told that they are durable, or settled.
        refused: Ids of those that an agent gave up, with the reason it was given.
        held: Ids still in an outbox.
        resent: How often an agent found that an acknowledgement had been taken back, and sent the delta again.
    """

    acknowledged: frozenset[str]
    refused: Mapping[str, str]
    held: frozenset[str] = frozenset()
    resent: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The versions that lead to the head, newest first.

    `taken_back` are those that were a head once and are not among them, with the reason for which the store refuses a
    delta from each.
    """

    versions: tuple[VersionRecord, ...]
    taken_back: Mapping[VersionId, str] = dataclasses.field(default_factory=dict)

    @property
    def merged(self) -> Counter[str]:
        """In how many of the versions each delta is."""
        merges = [version.merge for version in self.versions if version.merge is not None and not version.abandoned]
        return Counter(delta.delta_id for merge in merges for delta in merge.deltas)


def judge_failovers(
    agents: AgentsEvidence, history: History, *, tokens: Sequence[int] = (), accidents: Sequence[str] = ()
) -> Verdict:
    """Hold what agents know against the history, and the history against itself."""
    merged = history.merged
    lost = agents.acknowledged - merged.keys() - agents.refused.keys() - agents.held
    doubled = {delta_id for delta_id, times in merged.items() if times > 1}
    twice = sorted(token for token, times in Counter(tokens).items() if times > 1)
    unmoved = {base: reason for base, reason in history.taken_back.items() if reason not in PULL_REASONS}
    faults = [
        *_named("acknowledged and neither merged, refused with a reason, nor in an outbox", lost),
        *_named("merged twice in the history that leads to the head", doubled),
        *_named(
            "refused for a reason that no failover explains",
            {delta_id for delta_id, reason in agents.refused.items() if reason not in PULL_REASONS},
        ),
        *(f"fencing token {token} was given out twice" for token in twice),
        *(f"a delta from {base}, which was taken back, is not told to pull: {told}" for base, told in unmoved.items()),
        *_broken_chain(history.versions),
        *accidents,
    ]
    return Verdict(
        acknowledged=len(agents.acknowledged),
        merged=len(merged),
        rejected=len(agents.refused),
        dead=0,
        versions=len(history.versions),
        derived=0,
        lost=tuple(sorted(lost)),
        doubled=tuple(sorted(doubled)),
        faults=tuple(faults),
    )


def _broken_chain(versions: Sequence[VersionRecord]) -> list[str]:
    """Say where the history, newest first, is not one chain of versions with identities of their own down to 0."""
    numbers = [version.id.number for version in versions]
    faults = []
    if numbers != list(range(len(versions) - 1, -1, -1)):
        faults.append(f"the history has gaps: it is made of versions {numbers}")
    faults += [
        f"version {version.id.number} has parent {version.parent}"
        for version in versions
        if version.kind is VersionKind.MERGE and version.parent != version.id.number - 1
    ]
    names = Counter((version.id.epoch, version.id.number) for version in versions)
    faults += [f"two versions have epoch and number {name}" for name, times in names.items() if times > 1]
    return faults


def _named(what: str, ids: set[str] | frozenset[str]) -> list[str]:
    """Return one line that counts ids and names a few, or none."""
    shown = sorted(ids)[:5]
    return [f"{len(ids)} deltas are {what}, such as {', '.join(shown)}"] if ids else []


def read_agents(folder: Path, names: Iterable[str]) -> AgentsEvidence:
    """Read what the agents of a fleet in `folder` noted and logged; they must have a witnessed outbox."""
    acknowledged: set[str] = set()
    refused: dict[str, str] = {}
    left: set[str] = set()
    resent = 0
    for name in names:
        state = folder / "agents" / name
        acknowledged |= read_events(state / "events.log").get(ACKNOWLEDGED, {}).keys()
        left |= held(state / "outbox")
        for line in read_log(folder / "processes" / f"{name}.log"):
            resent += line["message"].startswith(RESENDING)
            if line["message"] == REJECTED:
                refused[line["delta_id"]] = line["reason"]
    return AgentsEvidence(acknowledged=frozenset(acknowledged), refused=refused, held=frozenset(left), resent=resent)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log that are events; others, such as what a failpoint says, are left out."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8", errors="replace").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
