"""The oracle of a deployment: what agents were told is durable against what the store says became of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from tests.deploy.cluster import FEDERATION, PROJECT, Cluster

PROGRAM = Path(__file__).with_name("settled.py")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What is left to count.

    Attributes:
        versions: Published after version 0.
        merged: Deltas in versions.
        rejected: Deltas rejected after they were acknowledged, by reason.
        refused: Deltas refused at upload, by reason; of these agents keep the last twenty.
        waiting: Deltas in the queue.
        acknowledged: Deltas that were acknowledged, by agents' logs, outboxes and merges.
        agents: How many there have been.
    """

    versions: int
    merged: int
    rejected: dict[str, int]
    refused: dict[str, int]
    waiting: int
    acknowledged: int
    agents: int


def read_books(cluster: Cluster) -> dict[str, Any]:
    """Read store and outboxes from a container in the store's network, with the password of the cluster's secret."""
    secret = cluster.folder / "deploy/compose/secrets/store_password"
    command = [
        "docker", "run", "--rm", "--interactive", "--network", f"{PROJECT}_store",
        "--volume", f"{PROJECT}_agents:/agents:ro", "--volume", f"{secret}:/run/secrets/store_password:ro",
        "--env", "ALIGNFED_STORE_URL=redis://redis:6379?password_file=/run/secrets/store_password",
        "--env", f"FEDERATION={FEDERATION}", "--entrypoint", "python", f"{PROJECT}/worker:test", "-",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env=cluster.engine.environment,
        input=PROGRAM.read_text("utf-8"),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def check_nothing_lost(books: dict[str, Any], acknowledged: set[str]) -> Settled:
    """Check that every acknowledged delta is in exactly one version, or rejected with a reason, or still queued.

    Args:
        books: See `settled.py`; agents are stopped.
        acknowledged: Deltas that agents had logged as durable.
    """
    receipts, versions = books["receipts"], books["versions"]
    merges = [(delta, agent, version["number"]) for version in versions for delta, agent in version["deltas"]]
    merged = {delta: number for delta, _agent, number in merges}
    assert len(merged) == len(merges), "a delta is in two versions"
    for delta, number in merged.items():
        assert (receipts[delta]["state"], receipts[delta]["version"]) == ("merged", number)
    for delta, receipt in receipts.items():
        assert receipt["state"] in ("queued", "merged", "rejected"), receipt
        assert (receipt["state"] == "merged") == (delta in merged), f"{delta} has the receipt {receipt}"
        assert receipt["state"] != "rejected" or receipt["reason"], f"{delta} is rejected without a reason"

    outboxes = {delta for book in books["books"].values() for delta in book["acknowledged"]}
    lost = (acknowledged | outboxes) - receipts.keys()
    assert not lost, f"acknowledged and unknown to the store: {lost}"
    numbers = sorted(version["number"] for version in versions)
    assert numbers == list(range(len(numbers))), "the versions have a gap"
    assert all(version["parent"] == version["number"] - 1 for version in versions if version["number"])

    by_agent = Counter(agent for _delta, agent, _number in merges)
    assert by_agent == {agent: count for agent, count in books["merged_by_agent"].items() if count}
    for agent, book in books["books"].items():
        check_agent(agent, book, merged=by_agent[agent], receipts=receipts)
    refused = Counter(
        reason
        for book in books["books"].values()
        for delta, reason in book["last_rejections"].items()
        if delta not in receipts
    )
    states = Counter(receipt["state"] for receipt in receipts.values())
    return Settled(
        versions=len(numbers) - 1,
        merged=len(merged),
        rejected=dict(Counter(receipt["reason"] for receipt in receipts.values() if receipt["state"] == "rejected")),
        refused=dict(refused),
        waiting=states["queued"],
        acknowledged=len(acknowledged | outboxes | merged.keys()),
        agents=len(books["books"]),
    )


def check_agent(agent: str, book: dict[str, Any], *, merged: int, receipts: dict[str, Any]) -> None:
    """Check that every delta an agent has made is merged, rejected, refused at upload, or still in its outbox."""
    kept = {*book["pending"], *book["acknowledged"]}
    states = {delta: receipts[delta]["state"] for delta in kept if delta in receipts}
    rejected = sum(receipt["agent"] == agent and receipt["state"] == "rejected" for receipt in receipts.values())
    unsettled = sum(states.get(delta, "kept") not in ("merged", "rejected") for delta in kept)
    # the agent's own count of rejections, without those that have a receipt: of those it does not know all yet
    known = rejected - sum(state == "rejected" for state in states.values())
    refused = max(0, book["rejected"] - known)
    assert book["made"] <= merged + rejected + refused + unsettled, f"{agent} has lost a delta: {book}"
