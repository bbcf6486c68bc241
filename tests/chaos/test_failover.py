"""The judge of failovers can find against; and clients follow a failover that the old primary does not hear of."""

from __future__ import annotations

import dataclasses

import pytest

from alignfed.errors import StoreUnreachable
from alignfed.plan import Encoding
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.urls import open_store
from coordinator.domain import BlobRef, DeltaRecord, QueuedDelta, VersionId, VersionKind, VersionRecord
from tests.chaos.faults.flows import BLACK_HOLE
from tests.chaos.faults.replicated import FAILOVER_SECONDS, PEERS, ReplicatedStore
from tests.chaos.verdict.aftermath import AgentsEvidence, History, judge_failovers
from tests.support.stores import NOW, merge_record, seed_federation
from tests.support.waiting import eventually


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_clients_leave_a_primary_that_its_peers_cannot_reach() -> None:
    with ReplicatedStore(wait_replicas=0, seed=1) as store:
        client = open_store(store.url)
        try:
            federation = (await seed_federation(client)).federation
            old = store.primary()
            assert old is not None
            store.proxies[old].set(BLACK_HOLE, source=PEERS)

            async def leads_at_the_new_primary() -> bool:
                try:
                    token = await client.leases.acquire(federation, "worker-1", ttl_seconds=60)
                except StoreUnreachable:
                    return False
                new = store.primary()
                if new in (None, old):
                    return False
                held = store.servers[new].command("HGET", FederationKeys(federation).federation, "epoch")
                return f"\r\n{token}\r\n" in held

            await eventually(
                leads_at_the_new_primary,
                what="a client takes the lease at the new primary, the old one being cut off still",
                timeout_seconds=FAILOVER_SECONDS,
            )
        finally:
            await client.close()


def version(number: int, *deltas: str, epoch: int = 1, parent: int | None = None) -> VersionRecord:
    blob = BlobRef(blob_id=f"adapter-{number}", total_bytes=1, part_bytes=1, sha256=f"{number:064x}")
    identity = VersionId(epoch=epoch, number=number, digest=blob.sha256)
    merged = [QueuedDelta(entry_id="1-0", delta=delta(delta_id), attempts=1) for delta_id in deltas]
    return VersionRecord(
        id=identity,
        kind=VersionKind.MERGE if deltas else VersionKind.INITIAL,
        parent=parent if parent is not None else (number - 1 if deltas else None),
        adapter=blob,
        merge=merge_record(merged) if deltas else None,
        created_at=NOW,
    )


def delta(delta_id: str) -> DeltaRecord:
    return DeltaRecord(
        federation="fed",
        agent_id="agent-1",
        delta_id=delta_id,
        base=VersionId(epoch=0, number=0, digest="0" * 64),
        examples=1,
        local_steps=1,
        encoding=Encoding.BF16,
        rank=1,
        payload=BlobRef(blob_id=delta_id, total_bytes=1, part_bytes=1, sha256="0" * 64),
        accepted_at=NOW,
    )


TAKEN_BACK = VersionId(epoch=1, number=2, digest="f" * 64)
AGENTS = AgentsEvidence(
    acknowledged=frozenset({"a", "b", "c", "r", "h"}),
    refused={"r": "BASE_VERSION_OTHER_BRANCH"},
    held=frozenset({"h"}),
    resent=1,
)
HISTORY = History(
    versions=(version(2, "c"), version(1, "a", "b"), version(0)),
    taken_back={TAKEN_BACK: "BASE_VERSION_OTHER_BRANCH"},
)


def test_the_judge_finds_nothing_where_nothing_is_wrong() -> None:
    verdict = judge_failovers(AGENTS, HISTORY, tokens=[1, 2, 3])
    assert (verdict.faults, verdict.lost, verdict.doubled) == ((), (), ())


@pytest.mark.parametrize(
    ("versions", "finding"),
    [
        ((version(2, "c"), version(1, "a"), version(0)), "acknowledged and neither merged"),
        ((version(2, "c", "a"), version(1, "a", "b"), version(0)), "merged twice"),
        ((version(3, "c"), version(1, "a", "b"), version(0)), "has gaps"),
        ((version(2, "c", parent=0), version(1, "a", "b"), version(0)), "has parent 0"),
    ],
)
def test_the_judge_finds_what_is_wrong_with_a_history(versions: tuple[VersionRecord, ...], finding: str) -> None:
    faults = judge_failovers(AGENTS, dataclasses.replace(HISTORY, versions=versions)).faults
    assert any(finding in fault for fault in faults), faults


def test_the_judge_finds_reused_tokens_unreasoned_refusals_and_agents_that_are_not_told_to_pull() -> None:
    agents = dataclasses.replace(AGENTS, refused={"r": ""})
    history = dataclasses.replace(HISTORY, taken_back={TAKEN_BACK: "accepted"})
    faults = "\n".join(judge_failovers(agents, history, tokens=[4, 5, 4], accidents=["worker-1 ended"]).faults)
    for finding in ("token 4 was given out twice", "no failover explains", "not told to pull", "worker-1 ended"):
        assert finding in faults
