"""A store that has lost what it had acknowledged, as a failover or a gone shard may: a delta, or its payload."""

from __future__ import annotations

import json
from typing import Any

import redis

from coordinator.backends.redis.keys import FederationKeys, blob_key
from tests.chaos.harness.fleet import Fleet


def hand_in_and_die(fleet: Fleet, name: str) -> str:
    """Kill an agent once a delta of its is acknowledged; return that one's id. Nothing may be merged meanwhile."""
    agent = fleet.run_once(fleet.agent_role(name), "")
    held = fleet.folder / "agents" / name / "outbox" / "acknowledged"
    fleet.tend_until(lambda: held.exists() and any(held.iterdir()), what=f"{name} has a delta that is acknowledged")
    fleet.kill(name)
    fleet.tend_until(lambda: agent.code is not None, what=f"{name} is dead")
    delta_id: str = json.loads((min(held.iterdir()) / "meta.json").read_text("utf-8"))["delta_id"]
    return delta_id


def lose(fleet: Fleet, delta_id: str) -> None:
    """Take an accepted delta out of the store without a trace, as a failover does that loses the last writes."""
    keys = FederationKeys(fleet.plan.federation)
    with _connected(fleet) as store:
        entry, delta = _queued(fleet, store, delta_id)
        blob_id = delta["payload"]["blob_id"]
        with store.pipeline(transaction=True) as at_once:
            at_once.xack(keys.queue, "aggregators", entry)
            at_once.xdel(keys.queue, entry)
            at_once.zrem(keys.queued, delta_id)
            at_once.hdel(keys.receipts, delta_id)
            at_once.zrem(keys.lifetimes, blob_id)
            at_once.unlink(blob_key(blob_id))
            at_once.execute()


def lose_payload(fleet: Fleet, delta_id: str) -> None:
    """Take the payload of an accepted delta out of the store, and leave the delta."""
    with _connected(fleet) as store:
        _, delta = _queued(fleet, store, delta_id)
        store.unlink(blob_key(delta["payload"]["blob_id"]))


def has_receipt(fleet: Fleet, delta_id: str) -> bool:
    """Return whether the store knows of a delta."""
    with _connected(fleet) as store:
        return bool(store.hexists(FederationKeys(fleet.plan.federation).receipts, delta_id))


def _queued(fleet: Fleet, store: redis.Redis, delta_id: str) -> tuple[bytes, dict[str, Any]]:
    """Return the entry of a delta in the queue, and what it holds."""
    entries: Any = store.xrange(FederationKeys(fleet.plan.federation).queue)
    for entry, fields in entries:
        delta: dict[str, Any] = json.loads(fields[b"delta"])
        if delta["delta_id"] == delta_id:
            return entry, delta
    raise AssertionError(f"delta {delta_id} is not queued")


def _connected(fleet: Fleet) -> redis.Redis:
    return redis.Redis(unix_socket_path=fleet.store.url.removeprefix("unix://"))
