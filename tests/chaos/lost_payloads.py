"""A store that has lost the payload of a delta that it had acknowledged, as a failover may or a shard that is gone."""

from __future__ import annotations

import json
import signal

import redis

from coordinator.backends.redis.keys import FederationKeys, blob_key
from coordinator.cli.operator_client import OperatorClient
from tests.chaos.fleet import FAILED_HERE, Fleet

WORKER = "worker-1"


def die_at_a_lost_payload(fleet: Fleet, place: str, name: str) -> None:
    """Let the worker die at `place` as it forgets a delta without a payload, until its agent has sent that again."""
    worker = fleet.roles[WORKER]
    with OperatorClient(fleet.operator_addresses[0]) as client:
        client.pause(fleet.plan.federation)
        agent = fleet.run_once(fleet.agent_role(name), "")
        held = fleet.folder / "agents" / name / "outbox" / "acknowledged"
        fleet.tend_until(lambda: held.exists() and any(held.iterdir()), what=f"{name} has a delta that is acknowledged")
        fleet.kill(name)
        fleet.tend_until(lambda: agent.code is not None, what=f"{name} is dead")
        delta_id = json.loads((min(held.iterdir()) / "meta.json").read_text("utf-8"))["delta_id"]
        fleet.retire(WORKER, signal.SIGTERM)
        _lose_payload(fleet, delta_id)
        dying = fleet.run_once(worker, f"{place}=crash")
        client.resume(fleet.plan.federation)
    fleet.tend_until(lambda: dying.code is not None, what=f"{WORKER} dies at {place}")
    if place not in FAILED_HERE.findall(dying.output):
        fleet.accidents.append(f"{WORKER} was to die at {place}; it ended with {dying.code}")
    fleet.add(worker)
    fleet.tend_until(lambda: not _has_receipt(fleet, delta_id), what=f"delta {delta_id} is forgotten")
    again = fleet.run_once(fleet.agent_role(name, max_deltas=1), "")
    fleet.tend_until(lambda: again.code is not None, what=f"{name} has sent everything again")


def _lose_payload(fleet: Fleet, delta_id: str) -> None:
    with _connected(fleet) as store:
        for _, fields in store.xrange(FederationKeys(fleet.plan.federation).queue):
            delta = json.loads(fields[b"delta"])
            if delta["delta_id"] == delta_id:
                store.unlink(blob_key(delta["payload"]["blob_id"]))
                return
    raise AssertionError(f"delta {delta_id} is not queued")


def _has_receipt(fleet: Fleet, delta_id: str) -> bool:
    with _connected(fleet) as store:
        return bool(store.hexists(FederationKeys(fleet.plan.federation).receipts, delta_id))


def _connected(fleet: Fleet) -> redis.Redis:
    return redis.Redis(unix_socket_path=fleet.store.url.removeprefix("unix://"))
