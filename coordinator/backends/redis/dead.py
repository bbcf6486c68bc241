"""Dead letters in Redis, for operators and for retention."""

from __future__ import annotations

from coordinator.backends import refusals
from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import FederationKeys
from coordinator.backends.redis.records import load_dead_letter, rejected_outcome
from coordinator.domain import DeadLetter


async def dead_letters(calls: Calls, federation: str) -> list[DeadLetter]:
    """Return all dead letters, oldest first."""
    (dead,) = await calls.read(federation, ("HVALS", FederationKeys(federation).dead))
    return sorted(map(load_dead_letter, dead), key=lambda letter: (letter.buried_at, letter.delta.delta_id))


async def dead_letter(calls: Calls, federation: str, delta_id: str) -> DeadLetter:
    """Return one dead letter.

    Raises:
        DeadLetterNotFound: There is none.
    """
    (letter,) = await calls.read(federation, ("HGET", FederationKeys(federation).dead, delta_id))
    if letter is None:
        raise refusals.dead_letter_unknown(delta_id)
    return load_dead_letter(letter)


async def settle_dead(calls: Calls, letter: DeadLetter, *, reason: str, detail: str) -> bool:
    """Reject a dead letter; returns whether it was one still. Never repeated silently."""
    delta = letter.delta
    keys = FederationKeys(delta.federation)
    reply = await calls.script(
        "drop",
        [keys.federation, keys.dead, keys.outcomes, keys.rejected, keys.lifetimes, keys.settled],
        [delta.delta_id, delta.agent_id, delta.payload.blob_id, rejected_outcome(reason, detail)],
        federation=delta.federation,
        repeatable=False,
    )
    return bool(reply == ["done"])
