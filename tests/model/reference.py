"""What a store must do, in plain dictionaries: short enough to be seen to be right.

The method that a real store's answer is compared with has the name of the port's method. Refusals are raised, of the
type that the store must raise.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from alignfed.errors import (
    AgentRevoked,
    BaseVersionInFuture,
    BaseVersionOtherBranch,
    BaseVersionTooOld,
    BaseVersionUnknown,
    DeadLetterNotFound,
    DeltaIdConflict,
    Fenced,
    HeadMoved,
    QueueFull,
    StoreCorrupt,
    UploadStalled,
    VersionNotFound,
)
from coordinator.domain import BlobRef, Commit, CommitOutcome, DeltaRecord, QueuedDelta, VersionId, VersionRecord

FEDERATION = "modelled"
STATE_VERSIONS = 2


@dataclasses.dataclass(slots=True)
class Place:
    """A delta's place in the queue: `entry_id` is known once somebody has claimed it."""

    entry_id: str | None = None
    attempts: int = 0


class Reference:
    """One federation. `keep_versions`, `keep_deltas` and `max_queue` are the plan's."""

    def __init__(self, first: VersionRecord, calibration: BlobRef | None, agents: tuple[str, ...], **plan: int) -> None:
        self.keep_versions, self.keep_deltas, self.max_queue = (
            plan[name] for name in ("keep_versions", "keep_deltas", "max_queue")
        )
        self.versions = [first]
        self.calibration = calibration
        self.epoch = first.id.epoch
        self.paused = False
        self.holder: tuple[str, int] | None = None
        self.revoked = dict.fromkeys(agents, False)
        self.accepted: dict[str, DeltaRecord] = {}
        self.queue: dict[str, Place] = {}
        self.dead: dict[str, DeltaRecord] = {}
        self.merged: dict[str, int] = {}
        self.rejected: dict[str, str] = {}
        self.unclaimed: dict[str, float] = {}

    # ---- what is asked ----

    @property
    def head(self) -> VersionId:
        return self.versions[-1].id

    @property
    def oldest(self) -> int:
        return max(0, self.head.number - self.keep_versions + 1)

    def needed_blobs(self) -> set[str]:
        """Return every blob that a record of something retained refers to."""
        needed = {self.accepted[delta_id].payload.blob_id for delta_id in (*self.queue, *self.dead)}
        for delta_id, number in self.merged.items():
            if self.head.number < number + self.keep_deltas:
                needed.add(self.accepted[delta_id].payload.blob_id)
        for version in self.versions:
            adapters = (version.adapter, version.average)
            if version.id.number >= self.oldest:
                needed |= {blob.blob_id for blob in adapters if blob is not None}
            if version.state is not None and self._keeps_state(version):
                needed.add(version.state.blob_id)
        return needed if self.calibration is None else needed | {self.calibration.blob_id}

    def _keeps_state(self, version: VersionRecord) -> bool:
        return self.head.number < version.id.number + STATE_VERSIONS

    def contributions(self) -> dict[str, tuple[int, int]]:
        """Return how many deltas of each agent were merged and rejected."""
        merged = Counter(self.accepted[delta_id].agent_id for delta_id in self.merged)
        rejected = Counter(self.accepted[delta_id].agent_id for delta_id in self.rejected)
        return {agent: (merged[agent], rejected[agent]) for agent in merged | rejected}

    # ---- acceptance ----

    def accept(self, delta: DeltaRecord) -> str:
        earlier = self.accepted.get(delta.delta_id)
        if earlier is not None:
            if (earlier.agent_id, earlier.payload.sha256) != (delta.agent_id, delta.payload.sha256):
                raise DeltaIdConflict("other content or agent")
            return delta.delta_id
        if self.revoked[delta.agent_id]:
            raise AgentRevoked("revoked")
        self._check_base(delta.base)
        if len(self.queue) >= self.max_queue:
            raise QueueFull("full")
        if delta.payload.blob_id not in self.unclaimed:
            raise UploadStalled("swept")
        del self.unclaimed[delta.payload.blob_id]
        self.accepted[delta.delta_id] = delta
        self.queue[delta.delta_id] = Place()
        return delta.delta_id

    def _check_base(self, base: VersionId) -> None:
        if base.number > self.head.number:
            raise BaseVersionInFuture("above the head")
        if base.number < 0:
            raise BaseVersionUnknown("never was")
        version = self.versions[base.number]
        if version.id != base or version.abandoned:
            raise BaseVersionOtherBranch("abandoned")
        if base.number < self.oldest:
            raise BaseVersionTooOld("not retained")

    # ---- the queue ----

    def claim(self, limit: int) -> list[tuple[str, int]]:
        return [(delta_id, 0) for delta_id, place in self.queue.items() if place.entry_id is None][:limit]

    def reclaim(self) -> list[tuple[str, int]]:
        return [(delta_id, place.attempts) for delta_id, place in self.queue.items() if place.entry_id is not None]

    def delivered(self, queued: QueuedDelta) -> None:
        self.queue[queued.delta.delta_id].entry_id = queued.entry_id

    def count_attempt(self, deltas: list[QueuedDelta]) -> None:
        for queued in deltas:
            if self._is_claimed(queued):
                self.queue[queued.delta.delta_id].attempts = queued.attempts + 1

    def forgive_attempt(self, deltas: Sequence[QueuedDelta]) -> None:
        for queued in filter(self._is_claimed, deltas):
            entry = self.queue[queued.delta.delta_id]
            entry.attempts = max(0, entry.attempts - 1)

    def reject(self, token: int, deltas: list[QueuedDelta], reason: str) -> None:
        self._check_token(token)
        for queued in filter(self._is_claimed, deltas):
            del self.queue[queued.delta.delta_id]
            self.rejected[queued.delta.delta_id] = reason

    def bury(self, token: int, queued: QueuedDelta) -> None:
        self._check_token(token)
        if self._is_claimed(queued):
            del self.queue[queued.delta.delta_id]
            self.dead[queued.delta.delta_id] = queued.delta

    def requeue_dead(self, delta_id: str) -> None:
        self._take_dead(delta_id)
        self.queue[delta_id] = Place()

    def drop_dead(self, delta_id: str) -> None:
        self._take_dead(delta_id)
        self.rejected[delta_id] = "DROPPED_BY_OPERATOR"

    def _take_dead(self, delta_id: str) -> None:
        if self.dead.pop(delta_id, None) is None:
            raise DeadLetterNotFound("none")

    def _is_claimed(self, queued: QueuedDelta) -> bool:
        place = self.queue.get(queued.delta.delta_id)
        return place is not None and place.entry_id == queued.entry_id

    # ---- leases ----

    def acquire(self, worker_id: str) -> int | None:
        if self.holder is not None and self.holder[0] != worker_id:
            return None
        self.epoch += 1
        self.holder = (worker_id, self.epoch)
        return self.epoch

    def renew(self, worker_id: str, token: int) -> bool:
        return self.holder == (worker_id, token) and token == self.epoch

    def release(self, worker_id: str, token: int) -> None:
        if self.holder == (worker_id, token):
            self.holder = None

    def _check_token(self, token: int) -> None:
        if token != self.epoch:
            raise Fenced("superseded")

    # ---- versions ----

    def commit(self, commit: Commit) -> CommitOutcome:
        version = commit.version
        if version.id == self.head:
            return CommitOutcome.ALREADY
        self._check_token(commit.token)
        if commit.expected_head != self.head or not all(map(self._is_claimed, commit.merged)):
            raise HeadMoved("other head, or a delta is settled")
        blobs = [blob.blob_id for blob in (version.adapter, version.average, version.state) if blob is not None]
        if not all(blob_id in self.unclaimed for blob_id in blobs):
            raise StoreCorrupt("swept")
        for blob_id in blobs:
            del self.unclaimed[blob_id]
        for queued in commit.merged:
            del self.queue[queued.delta.delta_id]
            self.merged[queued.delta.delta_id] = version.id.number
        self.versions.append(version)
        return CommitOutcome.COMMITTED

    def roll_back(self, number: int) -> int:
        """Return the number of the head afterwards."""
        head = self.versions[-1]
        if not 0 <= number <= self.head.number:
            raise VersionNotFound("never was")
        if number == self.head.number or (head.merge is None and head.parent == number):
            return self.head.number
        target = self.versions[number]
        if target.abandoned or number < self.oldest:
            raise VersionNotFound("abandoned, or not retained")
        for later in range(number + 1, len(self.versions)):
            self.versions[later] = dataclasses.replace(self.versions[later], abandoned=True)
        self.epoch += 1
        # a state lives as long as any version that shares it needs it
        shared = target.state is not None and target.state.blob_id in self.needed_blobs()
        identity = VersionId(epoch=self.epoch, number=len(self.versions), digest=target.id.digest)
        state = target.state if shared else None
        self.versions.append(dataclasses.replace(target, id=identity, parent=number, merge=None, state=state))
        return self.head.number

    def sweep(self, before: float) -> None:
        self.unclaimed = {blob_id: begun for blob_id, begun in self.unclaimed.items() if begun >= before}
