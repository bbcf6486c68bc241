"""Every key that the Redis backend uses. All of a federation's keys share one hash tag, so they share a Cluster slot.

A federation's blobs are untagged: they spread over the Cluster, and therefore no script ever touches one.
"""

from __future__ import annotations

PREFIX = "alignfed:"

NAMES = f"{PREFIX}federations"
"""Set of every name that a federation was, or was going to be, created under; its own hash says whether it was."""

HEADS_CHANNEL = f"{PREFIX}heads"
"""Channel that carries the name of each federation whose head, pause state or revoked agents changed."""

REPLICATED_CHANNEL = f"{PREFIX}replicated"
"""Channel of empty messages that nobody listens to: written so that replicas can be waited for."""

PAYLOADS_PLACE = f"{PREFIX}payloads"
"""Hash of a store whose payloads are objects: id (which the place has too), place (its URL), marked (1 once it has the
id), and how far the search for orphans is: turn (time of its last step, Unix seconds), after (the last folder seen)."""

CONSUMER_GROUP = "aggregators"


class IdentityKeys:
    """Keys that belong to no federation; they share one hash tag, so that a script may touch several."""

    grants = f"{PREFIX}{{identities}}:grants"
    """Set of join grants' names, some of which may have expired."""
    agents = f"{PREFIX}{{identities}}:agents"
    """Hash agent id -> digest of the key that holds it."""
    revoked = f"{PREFIX}{{identities}}:revoked"
    """Set of principals."""


def grant_key(token_id: str) -> str:
    """Return the key of a join grant: a hash that expires."""
    return f"{PREFIX}{{identities}}:grant:{token_id}"


class FederationKeys:
    """The keys of one federation; those of a restore in progress have its name, `staging`, in theirs, and expire.

    Attributes:
        federation: Hash: record (JSON), paused, hold_reason, head (epoch:number:digest), oldest (retained number),
            epoch (newest fencing token), restores (number that a rollback head restores, or empty), and what the
            scripts need of the plan: keep_versions, keep_deltas, max_queue. One that was restored has the restore's
            name too: restored.
            Once records were trimmed it has the number below which they are: trimmed. One that a worker has led says
            for how many milliseconds its lease is taken: lease_lasts.
        lease: String token:worker, which expires.
        versions: Hash number -> body (JSON): all of a version but its identity and its being abandoned.
        lineage: Hash number -> epoch:digest:abandoned (0/1).
        queue: Stream of deltas (JSON) with one consumer group. Never trimmed by length: that would lose deltas.
        queued: Sorted set of the queue's delta ids by acceptance time.
        waiting: Sorted set, all scores 0, of agent id:delta id: queued deltas by agent, and some that were queued.
        receipts: Hash delta id -> agent, digest, acceptance time (JSON).
        outcomes: Hash delta id -> what became of it (JSON), absent while it is queued or dead.
        settled: Sorted set of the merged and rejected deltas by the head's number at the time.
        dead: Hash delta id -> dead letter (JSON).
        agents, registered, last_seen: Hashes agent id -> capabilities (JSON), first registration, last call.
        revoked: Set of agent ids.
        merged, weights, rejected: Hashes agent id -> contribution.
        unclaimed: Sorted set of the blobs that nothing has adopted, by begin time.
        lifetimes: Sorted set of the adopted blobs by the head number from which they may be deleted.
    """

    def __init__(self, federation: str, *, staging: str = "") -> None:
        tag = f"{PREFIX}{{{federation}}}:{staging and f'restore:{staging}:'}"
        self.federation = f"{tag}federation"
        self.lease = f"{tag}lease"
        self.versions = f"{tag}versions"
        self.lineage = f"{tag}lineage"
        self.queue = f"{tag}queue"
        self.queued = f"{tag}queued"
        self.waiting = f"{tag}waiting"
        self.receipts = f"{tag}receipts"
        self.outcomes = f"{tag}outcomes"
        self.settled = f"{tag}settled"
        self.dead = f"{tag}dead"
        self.agents = f"{tag}agents"
        self.registered = f"{tag}registered"
        self.last_seen = f"{tag}last-seen"
        self.revoked = f"{tag}revoked"
        self.merged = f"{tag}merged"
        self.weights = f"{tag}weights"
        self.rejected = f"{tag}rejected"
        self.unclaimed = f"{tag}unclaimed"
        self.lifetimes = f"{tag}lifetimes"


def blob_key(blob_id: str) -> str:
    """Return the key of a blob's record: a hash part index -> bytes, or a note where the payloads are objects.

    One more field, there from its beginning on, names the folder of the objects, empty for parts in the hash.
    """
    return f"{PREFIX}blob:{blob_id}"
