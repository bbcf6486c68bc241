"""Start an agent of a scaled service: it takes the first free place of its tier, and that place's identity and data.

A place is a folder of the volume that all agents share, with its state, and is held by a lock for as long as the agent
runs. A container that is started again, or one more after fewer, therefore goes on where the last one in its place was:
no outbox is left behind by `--scale`. A place joins once, with its tier's token, and keeps its identity from then on.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from pathlib import Path

STATES = Path("/var/lib/alignfed/agents")
RUN = Path("/var/lib/alignfed/federation/run.json")
TOKENS = Path("/var/lib/alignfed/joining")
TIERS = ("fast", "medium", "slow")
PLACES = 1000


def take_place(tier: str) -> int:
    """Lock the tier's first free place and return its number, from 1; the lock outlives this program's replacement."""
    for number in range(1, PLACES + 1):
        folder = STATES / f"{tier}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "place.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        os.set_inheritable(lock, True)
        return number
    sys.exit(f"all {PLACES} places of tier {tier} are taken: scale it down")


def data_of(tier: str, number: int, agents: list[dict[str, object]]) -> str:
    """Return the data of a place: one share each, in turn over the tiers; shared again when there are more agents."""
    return str(agents[((number - 1) * len(TIERS) + TIERS.index(tier)) % len(agents)]["data"])


def main() -> None:
    """Become `alignfed-agent`."""
    tier = os.environ["ALIGNFED_TIER"]
    run = json.loads(RUN.read_text("utf-8"))
    number = take_place(tier)
    folder = STATES / f"{tier}-{number}"
    arguments = {
        "--federation": run["federation"],
        "--agent-id": folder.name,
        "--data": data_of(tier, number, run["agents"]),
        "--state-dir": str(folder / "state"),
        "--join-token-file": str(TOKENS / f"{tier}.join"),
    }
    words = [word for pair in arguments.items() for word in pair]
    program = "/opt/alignfed/bin/alignfed-agent"
    os.execv(program, [program, "run", *words])  # noqa: S606 - a shell would take our place and our signals


if __name__ == "__main__":
    main()
