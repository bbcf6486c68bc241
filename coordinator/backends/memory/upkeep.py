"""Letting go of records in memory."""

from __future__ import annotations

from alignfed.errors import DeadLetterExpired
from alignfed.plan import Retention
from coordinator.backends.memory.deltas import settle_rejected
from coordinator.backends.memory.state import FederationState, MemoryState
from coordinator.retention import (
    Trimmed,
    expired_letters,
    first_whole_record,
    forgotten_agents,
    receipts_kept,
    trimmed,
)


class MemoryUpkeep:
    """Implements `coordinator.ports.Upkeep`."""

    def __init__(self, state: MemoryState) -> None:
        self._state = state

    async def trim(self, federation: str, retention: Retention, *, at: float) -> Trimmed:
        """See the port."""
        found = self._state.federation(federation)
        return Trimmed(
            dead_letters=self._expire_letters(found, retention, at),
            receipts=_forget_receipts(found, retention),
            records=_trim_records(found, retention),
            agents=_forget_agents(found, retention, at),
        )

    def _expire_letters(self, federation: FederationState, retention: Retention, at: float) -> int:
        letters = sorted(federation.dead.values(), key=lambda letter: (letter.buried_at, letter.delta.delta_id))
        expired = expired_letters(letters, retention, at=at)
        for delta_id, why in expired.items():
            letter = federation.dead.pop(delta_id)
            detail = f"{why}: {letter.detail}"
            settle_rejected(self._state, federation, letter.delta, reason=DeadLetterExpired.reason, detail=detail)
        return len(expired)


def _forget_receipts(federation: FederationState, retention: Retention) -> int:
    newest = federation.versions[-1].id.number - receipts_kept(retention)
    old = [delta_id for delta_id, settled in federation.settled.items() if settled <= newest]
    for delta_id in old:
        del federation.receipts[delta_id], federation.settled[delta_id]
    return len(old)


def _trim_records(federation: FederationState, retention: Retention) -> int:
    count = 0
    for number in range(first_whole_record(federation.versions[-1].id.number, retention)):
        short = trimmed(federation.versions[number])
        count += short is not federation.versions[number]
        federation.versions[number] = short
    return count


def _forget_agents(federation: FederationState, retention: Retention, at: float) -> int:
    last_seen = {agent.agent_id: agent.last_seen_at for agent in federation.agents.values() if not agent.revoked}
    last_seen |= {agent_id: 0.0 for agent_id in federation.contributions if agent_id not in federation.agents}
    forgotten = forgotten_agents(last_seen, retention, at=at)
    for agent_id in forgotten:
        federation.agents.pop(agent_id, None)
        federation.contributions.pop(agent_id, None)
    return len(forgotten)
