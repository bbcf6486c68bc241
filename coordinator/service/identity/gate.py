"""Who may do what: the caller of each RPC, and whether what it claims to be is what its certificate says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from alignfed.errors import IdentityMismatch, IdentityMissing, RoleInsufficient
from alignfed.identity import Identity, Kind, Role
from coordinator.ports import Clock
from coordinator.service.identity.certificates import Caller, CertificateReader
from coordinator.service.identity.open_calls import OpenCalls
from coordinator.service.identity.revocations import Revocations
from coordinator.service.identity.roles import role_for
from coordinator.service.rpc.types import Context

logger = logging.getLogger(__name__)

_CALLER: ContextVar[Caller | None] = ContextVar("caller", default=None)


class Gate:
    """Lets callers in.

    Args:
        reader: Reads certificates; None where identities are off, and claims are believed.
        revocations: Who is shut out.
        calls: What runs.
        clock: Time, by which certificates expire.
    """

    def __init__(
        self, reader: CertificateReader | None, revocations: Revocations, calls: OpenCalls, clock: Clock
    ) -> None:
        self._reader = reader
        self._revocations = revocations
        self._calls = calls
        self._clock = clock

    @property
    def identifies(self) -> bool:
        """Whether callers must have certificates."""
        return self._reader is not None

    def admit_agent(self, context: Context) -> None:
        """Find out which agent calls, for the rest of the RPC.

        Raises:
            IdentityMissing: It has no certificate of an agent, or one that has expired.
            IdentityRevoked: It is shut out.
        """
        caller = self._caller(context)
        if caller is not None and caller.identity.kind is not Kind.AGENT:
            raise IdentityMissing("the agents' port is for agents: operators call the operators' port")
        _CALLER.set(caller)

    def admit_operator(self, context: Context, method: str) -> None:
        """Find out which operator calls, and check that the role includes `method`.

        Raises:
            IdentityMissing: The caller has no certificate of an operator, or one that has expired.
            IdentityRevoked: It is shut out.
            RoleInsufficient: The role does not include it.
        """
        caller = self._caller(context)
        if caller is not None:
            due = role_for(method)
            role = caller.identity.role
            if role is None:
                raise IdentityMissing("the operators' port is for operators: this is an agent's certificate")
            if not role.includes(due):
                raise RoleInsufficient(
                    f"{method} needs the role {due}, and {caller.identity.name!r} has {role}: ask an admin, or "
                    f"show a certificate made by `alignfed ca operator NAME --role {due}`",
                    role=role,
                )
            if due is not Role.VIEWER:  # who did what; reading is not worth a line
                logger.info("operator call method=%s operator=%s", method, caller.identity.name)
        _CALLER.set(caller)

    def check_claim(self, federation: str, agent_id: str) -> None:
        """Check that the caller is the agent that its request names, in a federation that it may join.

        Raises:
            IdentityMismatch: It is another one, or may not.
            AgentRevoked: It is shut out of the federation.
        """
        caller = _CALLER.get()
        if caller is not None:
            if caller.identity.name != agent_id:
                raise IdentityMismatch(
                    f"the request is in the name of agent {agent_id[:64]!r}, the certificate is of "
                    f"{caller.identity.name!r}: an agent can only speak for itself"
                )
            self._check_federation(caller.identity, federation)
        self._revocations.check_agent(federation, agent_id)

    @contextmanager
    def call(self, federation: str, agent_id: str | None) -> Iterator[None]:
        """Check a claim, and run a call that may take long: it is cut when its agent is shut out in the meantime.

        Args:
            federation: Where it goes.
            agent_id: Whom the request names; None when it names nobody.

        Raises:
            IdentityMismatch, AgentRevoked: As by `check_claim`.
            AgentRevoked, IdentityRevoked: The agent was shut out while it ran.
        """
        caller = _CALLER.get()
        agent_id = agent_id or (caller.identity.name if caller is not None else None)
        principals = frozenset[str]()
        if agent_id is not None:
            self.check_claim(federation, agent_id)
            principals = _principals(caller) if caller is not None else frozenset({f"agent:{agent_id}"})
        with self._calls.call(principals, federation):
            yield

    def _check_federation(self, identity: Identity, federation: str) -> None:
        if not identity.may_join(federation):
            raise IdentityMismatch(
                f"agent {identity.name!r} was not let into federation {federation[:64]!r}: ask its operator for a join "
                "token"
            )

    def _caller(self, context: Context) -> Caller | None:
        if self._reader is None:
            return None
        caller = self._reader.caller(context)
        if caller.expires_at <= self._clock.now():
            raise IdentityMissing(
                "the certificate has expired: join again with a new token, or have a new certificate made"
            )
        self._revocations.check(_principals(caller))
        return caller


def current_caller() -> Caller | None:
    """Return who makes the RPC that runs in this task; None where identities are off."""
    return _CALLER.get()


def _principals(caller: Caller) -> frozenset[str]:
    return frozenset({caller.identity.principal, f"key:{caller.key_sha256}"})


def operator_name() -> str:
    """Return the name of the operator whose RPC runs here; empty where identities are off."""
    caller = _CALLER.get()
    return "" if caller is None else caller.identity.name
