"""Tokens with which the agents of the cluster join: one per tier, for agents of that tier's names alone.

They are in a volume that nobody mounts but the set-up, which writes them, and the agents. Whoever has joined needs none
any more, so a token that has expired stops nobody but newcomers; every `up` and every `scale` runs the set-up, which
makes a new one in time.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from alignfed.errors import RequestInvalid
from alignfed.join_token import read_join_token
from coordinator.cli.operator_client import OperatorClient

TOKENS = Path("/var/lib/alignfed/joining")
TIERS = ("fast", "medium", "slow")
COORDINATOR, JOIN = "gateway:7300", "gateway:7302"
HOURS, USES = 30 * 24, 1000
LEFT_HOURS, LEFT_USES = 7 * 24, 100
"""A token with less than this is replaced."""


def see_to_tokens(client: OperatorClient, federation: str, *, say: Callable[[str], None]) -> None:
    """Make a token for every tier that has none, or one that will not do for long."""
    good = {
        state.grant.token_id
        for state in client.join_grants()
        if state.grant.expires_at - time.time() > LEFT_HOURS * 3600 and state.uses_left > LEFT_USES
    }
    for tier in TIERS:
        file = TOKENS / f"{tier}.join"
        if token_id_of(file) not in good:
            replace(file, agent=f"{tier}-*", federation=federation)
            say(f"agents {tier}-1, {tier}-2, ... may join with a new token")


def token_id_of(file: Path) -> str:
    """Return the id of the token in a file; empty without one."""
    try:
        return read_join_token(file).token_id
    except RequestInvalid:
        return ""


def replace(file: Path, *, agent: str, federation: str) -> None:
    """Write a new token in the old one's place, in one step: agents may be reading it."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)  # of a set-up that was killed
    words = ["--federation", federation, "--coordinator", COORDINATOR, "--join", JOIN, "--hours", HOURS, "--uses", USES]
    command = ["alignfed", "enroll", agent, *map(str, words), "--output", str(draft)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    draft.replace(file)
