"""The reply of `cut.lua` as domain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordinator.backends.redis.records import load_agent, load_dead_letter, load_delta, load_federation, load_identity
from coordinator.cuts import FederationCut
from coordinator.domain import Contribution, QueuePlace


def load_cut(reply: Sequence[Any]) -> FederationCut:
    """Return the cut that a reply holds, its status left out.

    Raises:
        StoreCorrupt: A record in it cannot be read.
    """
    federation, lineage, queue, claims, dead, *agents, merged, weights, rejected, lifetimes = reply
    record, paused, head, epoch = federation
    merges, weighed, refused = _pairs(merged), _pairs(weights), _pairs(rejected)
    capabilities, registered, last_seen, revoked = agents
    first, seen, banned = _pairs(registered), _pairs(last_seen), set(revoked)
    return FederationCut(
        record=load_federation(record, paused=paused == "1"),
        head=load_identity(head),
        epoch=int(epoch),
        abandoned=frozenset(int(number) for number, text in _pairs(lineage).items() if text.endswith(":1")),
        queue=_queue(queue, claims),
        dead=tuple(map(load_dead_letter, _pairs(dead).values())),
        agents=tuple(
            load_agent(
                agent_id,
                said,
                registered_at=first[agent_id],
                last_seen_at=seen[agent_id],
                revoked=agent_id in banned,
            )
            for agent_id, said in _pairs(capabilities).items()
        ),
        contributions={
            agent_id: Contribution(
                merged=int(merges.get(agent_id, 0)),
                weight=float(weighed.get(agent_id, 0)),
                rejected=int(refused.get(agent_id, 0)),
            )
            for agent_id in merges.keys() | refused.keys()
        },
        kept_until={blob_id: float(until) for blob_id, until in _pairs(lifetimes).items()},
    )


def _queue(entries: Sequence[Sequence[str]], claims: Sequence[Sequence[Any]]) -> tuple[QueuePlace, ...]:
    """Return the queue; deliveries count from 1, attempts from 0."""
    claimed = {entry_id: (worker_id, max(0, int(deliveries) - 1)) for entry_id, worker_id, deliveries in claims}
    places = []
    for place, (entry_id, delta) in enumerate(entries, start=1):
        claimed_by, attempts = claimed.get(entry_id, (None, 0))
        places.append(QueuePlace(delta=load_delta(delta), place=place, claimed_by=claimed_by, attempts=attempts))
    return tuple(places)


def _pairs(flat: Sequence[str]) -> dict[str, str]:
    """Return a reply of alternating keys and values as a mapping."""
    return dict(zip(flat[::2], flat[1::2], strict=True))
