"""Who is shut out: in memory, so that every call is checked against it, and refreshed as soon as it is announced."""

from __future__ import annotations

import logging
from functools import partial

from alignfed.errors import IdentityRevoked, UnknownFederation
from coordinator.backends import refusals
from coordinator.ports import Clock, Store
from coordinator.ports.feed import IDENTITIES_CHANGED
from coordinator.service.caches.plans import Plans
from coordinator.service.caches.rereading import reread_forever
from coordinator.service.identity.open_calls import OpenCalls

logger = logging.getLogger(__name__)


class Revocations:
    """Knows revoked principals, and the revoked agents of the federations that are known here.

    Args:
        store: Where revocations are kept and announced.
        clock: Time of the background tasks.
        calls: What runs; calls of whoever is shut out are cut.
        plans: Knows the federations; a name that a caller made up is none.
        reread_seconds: How often everything is read again, in case an announcement was missed.
    """

    def __init__(self, store: Store, clock: Clock, calls: OpenCalls, plans: Plans, *, reread_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._calls = calls
        self._plans = plans
        self._reread_seconds = reread_seconds
        self._principals: frozenset[str] = frozenset()
        self._agents: dict[str, frozenset[str]] = {}

    def check(self, principals: frozenset[str]) -> None:
        """Check that none of a caller's names is shut out.

        Raises:
            IdentityRevoked: One is.
        """
        if not self._principals.isdisjoint(principals):
            raise _revoked()

    def check_agent(self, federation: str, agent_id: str) -> None:
        """Check that an agent is not shut out of a federation, as far as this process knows.

        Raises:
            AgentRevoked: It is.
        """
        if agent_id in self._agents.get(federation, ()):
            raise refusals.agent_revoked(agent_id)

    async def reread(self) -> None:
        """Read everything again now and then, until cancelled."""
        await reread_forever(
            self.catch_up,
            self._clock,
            seconds=self._reread_seconds,
            failed="revocations not re-read, those known stay in force",
            logger=logger,
        )

    async def catch_up(self) -> None:
        """Read everything that is known here again."""
        await self.heard(IDENTITIES_CHANGED)
        for federation in self._plans.known():
            await self._refresh_agents(federation)

    async def heard(self, changed: str) -> None:
        """Read again what was announced, and cut the calls of whoever is shut out by it."""
        if changed == IDENTITIES_CHANGED:
            revoked = await self._store.identities.revoked()
            for principal in revoked - self._principals:
                self._calls.cut(principal, _revoked)
            self._principals = revoked
        elif changed in self._plans.known():
            await self._refresh_agents(changed)

    async def _refresh_agents(self, federation: str) -> None:
        try:
            revoked = await self._store.agents.revoked(federation)
        except UnknownFederation:
            self._agents.pop(federation, None)
            return
        for agent_id in revoked - self._agents.get(federation, frozenset()):
            self._calls.cut(f"agent:{agent_id}", partial(refusals.agent_revoked, agent_id), federation=federation)
        self._agents[federation] = revoked


def _revoked() -> IdentityRevoked:
    return IdentityRevoked(
        "this identity or its key was revoked by an operator: ask for a join token or a certificate with another name"
    )
