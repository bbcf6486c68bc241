"""What the memory backend keeps. Its ports share one `MemoryState`; nothing outside this package sees it."""

from __future__ import annotations

import asyncio
import dataclasses

from coordinator.backends import refusals
from coordinator.backends.rules import CONDEMNED, WHILE_NEEDED, oldest_retained
from coordinator.cuts import Restored
from coordinator.domain import (
    AgentRecord,
    Contribution,
    DeadLetter,
    DeltaRecord,
    FederationRecord,
    Head,
    QueuePlace,
    Receipt,
    VersionRecord,
)
from coordinator.ports import Clock


@dataclasses.dataclass(slots=True, kw_only=True)
class Entry:
    """A delta's place in the queue, and who claimed it last, if anybody."""

    delta: DeltaRecord
    claimed_by: str | None = None
    attempts: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who may merge until `expires_at` on the monotonic clock."""

    worker_id: str
    token: int
    expires_at: float


@dataclasses.dataclass(slots=True)
class BlobBook:
    """Who needs a federation's blobs.

    `unclaimed` has begin times; `kept_until` the head number from which an adopted blob may be deleted.
    """

    unclaimed: dict[str, float] = dataclasses.field(default_factory=dict)
    kept_until: dict[str, float] = dataclasses.field(default_factory=dict)

    def holds(self, blob_id: str, *, head: int) -> bool:
        """Whether the blob may be adopted: it is unclaimed, or adopted and still retained."""
        return blob_id in self.unclaimed or self.kept_until.get(blob_id, CONDEMNED) > head

    def adopt(self, blob_id: str, *, until: float) -> None:
        """Keep a blob until the head reaches `until`, or longer if it was promised already."""
        self.unclaimed.pop(blob_id, None)
        self.kept_until[blob_id] = max(until, self.kept_until.get(blob_id, until))

    def free(self, blob_id: str, *, until: float) -> None:
        """Let go of a blob from head number `until` on."""
        self.kept_until[blob_id] = until


@dataclasses.dataclass(slots=True, kw_only=True)
class FederationState:
    """One federation. `versions` is indexed by number; `epoch` is the newest fencing token.

    `settled` has the head's number at which each delta was merged or rejected. `restore_id` names the restore that it
    came from, if any.
    """

    record: FederationRecord
    versions: list[VersionRecord]
    epoch: int = 0
    lease: Lease | None = None
    agents: dict[str, AgentRecord] = dataclasses.field(default_factory=dict)
    contributions: dict[str, Contribution] = dataclasses.field(default_factory=dict)
    receipts: dict[str, Receipt] = dataclasses.field(default_factory=dict)
    settled: dict[str, int] = dataclasses.field(default_factory=dict)
    queue: dict[str, Entry] = dataclasses.field(default_factory=dict)
    entries_ever: int = 0
    dead: dict[str, DeadLetter] = dataclasses.field(default_factory=dict)
    restore_id: str = ""
    hold_reason: str = ""

    @property
    def head(self) -> Head:
        """The newest version."""
        newest = self.versions[-1].id
        oldest = oldest_retained(newest.number, self.record.plan.retention)
        return Head(id=newest, oldest_retained=oldest, paused=self.record.paused, hold_reason=self.hold_reason)

    def enqueue(self, delta: DeltaRecord) -> None:
        """Append a delta to the queue."""
        self.entries_ever += 1
        self.queue[f"{self.entries_ever}-0"] = Entry(delta=delta)

    def claimed(self, entry_id: str, delta_id: str) -> bool:
        """Whether that entry holds that delta and somebody has claimed it."""
        entry = self.queue.get(entry_id)
        return entry is not None and entry.delta.delta_id == delta_id and entry.claimed_by is not None

    def contribute(self, agent_id: str, *, merged: int = 0, weight: float = 0.0, rejected: int = 0) -> None:
        """Add to what an agent has contributed."""
        before = self.contributions.get(agent_id, Contribution())
        self.contributions[agent_id] = Contribution(
            merged=before.merged + merged, weight=before.weight + weight, rejected=before.rejected + rejected
        )

    def check_token(self, token: int) -> None:
        """Check that a fencing token is the newest.

        Raises:
            Fenced: It is not.
        """
        if token != self.epoch:
            raise refusals.fenced(token, newest=self.epoch)


@dataclasses.dataclass(slots=True)
class Staged:
    """Records of a federation that is being restored and does not exist yet."""

    versions: dict[int, VersionRecord] = dataclasses.field(default_factory=dict)
    receipts: dict[str, Receipt] = dataclasses.field(default_factory=dict)
    settled: dict[str, int] = dataclasses.field(default_factory=dict)
    queue: dict[int, QueuePlace] = dataclasses.field(default_factory=dict)
    dead: dict[str, DeadLetter] = dataclasses.field(default_factory=dict)
    agents: dict[str, AgentRecord] = dataclasses.field(default_factory=dict)
    contributions: dict[str, Contribution] = dataclasses.field(default_factory=dict)
    kept_until: dict[str, float] = dataclasses.field(default_factory=dict)

    def complete(self, restored: Restored, restore_id: str) -> FederationState:
        """Return the federation that the records make."""
        federation = FederationState(
            record=restored.record,
            versions=[self.versions[number] for number in sorted(self.versions)],
            epoch=restored.epoch,
            agents=self.agents,
            contributions=self.contributions,
            receipts=self.receipts,
            settled=self.settled,
            dead=self.dead,
            restore_id=restore_id,
        )
        for place in sorted(self.queue):
            entry = self.queue[place]
            federation.enqueue(entry.delta)
            newest = next(reversed(federation.queue.values()))
            newest.claimed_by, newest.attempts = entry.claimed_by, entry.attempts
        return federation


class Subscriber:
    """The changed federations that one reader has not seen yet; repeated changes count once."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._wake = asyncio.Event()

    def note(self, federation: str) -> None:
        """Add a changed federation."""
        self._changed[federation] = None
        self._wake.set()

    async def next(self) -> str:
        """Return the change that waits longest; suspend until there is one."""
        while not self._changed:
            self._wake.clear()
            await self._wake.wait()
        federation = next(iter(self._changed))
        del self._changed[federation]
        return federation


class MemoryState:
    """Everything that the memory backend keeps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.federations: dict[str, FederationState] = {}
        self.books: dict[str, BlobBook] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.staged: dict[tuple[str, str], Staged] = {}
        self.subscribers: set[Subscriber] = set()

    def federation(self, name: str) -> FederationState:
        """Return a federation.

        Raises:
            UnknownFederation: It does not exist.
        """
        found = self.federations.get(name)
        if found is None:
            raise refusals.federation_unknown(name)
        return found

    def book(self, federation: str) -> BlobBook:
        """Return who needs which blobs; works before the federation exists, since its first blobs come before it."""
        return self.books.setdefault(federation, BlobBook())

    def head_number(self, federation: str) -> int:
        """Return the head's number, -1 before the federation exists."""
        found = self.federations.get(federation)
        return -1 if found is None else found.versions[-1].id.number

    def announce(self, federation: str) -> None:
        """Tell every subscriber that a head, a pause state or who is revoked changed."""
        for subscriber in self.subscribers:
            subscriber.note(federation)

    def keep_payload(self, delta: DeltaRecord) -> None:
        """Adopt a delta's payload for as long as it is queued or a dead letter."""
        self.book(delta.federation).adopt(delta.payload.blob_id, until=WHILE_NEEDED)
