"""Letting agents in: a join token for a certificate, and a certificate for the next one."""

from __future__ import annotations

import datetime
import hmac
import logging
import re

from alignfed.errors import AgentIdTaken, IdentityMismatch, JoinTokenInvalid, RequestInvalid
from alignfed.identity import EVERY_FEDERATION, Identity, Kind
from alignfed.join_token import secret_digest
from alignfed.plan import AGENT_ID, FEDERATION_NAME, SHA256_HEX
from coordinator.authority.certificates import Authority, answer_request, key_digest, key_of_request
from coordinator.domain import JoinGrant, Redemption
from coordinator.ports import Clock, Store
from coordinator.service.identity.certificates import Caller
from coordinator.service.identity.revocations import Revocations

logger = logging.getLogger(__name__)

LONGEST_GRANT_SECONDS = 90 * 86_400.0
MOST_USES = 100_000
_TOKEN_ID = re.compile(r"[0-9a-f]{16,64}")
_INVALID = (
    "the join token is unknown, used up, expired, or not for this agent: ask the operator for a new one "
    "(`alignfed enroll`)"
)


class Joining:
    """Signs agents' certificates.

    Args:
        store: Where join grants are.
        clock: Time.
        revocations: Who is shut out.
        authority: Signs; None where this coordinator lets nobody in.
        certificate_days: How long an agent's certificate lasts.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        revocations: Revocations,
        *,
        authority: Authority | None,
        certificate_days: float,
    ) -> None:
        self._store = store
        self._clock = clock
        self._revocations = revocations
        self._authority = authority
        self._days = certificate_days

    async def join(self, *, token_id: str, secret: str, agent_id: str, request: bytes) -> bytes:
        """Return an agent's certificate (PEM) for a token. The same token, agent and key get another one.

        Raises:
            JoinTokenInvalid: The token is no good, for whatever reason: none is told to whoever tries.
            AgentIdTaken: Another key holds the id, and the token is not for this agent alone.
            IdentityRevoked: The agent or the key is shut out.
            RequestInvalid: The id or the signing request is malformed.
        """
        authority = self._required()
        if not AGENT_ID.fullmatch(agent_id):
            raise RequestInvalid("the agent's id must be 1 to 64 letters, digits, '.', '_' or '-'")
        key = key_digest(key_of_request(request))
        grant = await self._store.identities.granted(token_id) if _TOKEN_ID.fullmatch(token_id) else None
        if (
            grant is None
            or not hmac.compare_digest(secret_digest(secret), grant.secret_sha256)
            or not grant.admits(agent_id)
        ):
            raise JoinTokenInvalid(_INVALID)
        self._revocations.check(frozenset({f"agent:{agent_id}", f"key:{key}"}))
        match await self._store.identities.redeem(grant, agent_id, key):
            case Redemption.TAKEN:
                raise AgentIdTaken(
                    f"agent {agent_id!r} has joined with another key: choose another id, or have the operator make a "
                    "token for this id alone, which shuts the other key out"
                )
            case Redemption.GRANTED:
                logger.info("agent joined agent=%s token=%s", agent_id, grant.token_id)
            case _:
                raise JoinTokenInvalid(_INVALID)
        identity = Identity(kind=Kind.AGENT, name=agent_id, federations=frozenset(grant.federations))
        return answer_request(authority, request, identity, days=self._days, now=self._now())

    def renew(self, caller: Caller | None, request: bytes) -> bytes:
        """Return a new certificate (PEM) for the caller's identity and key.

        Raises:
            RequestInvalid: Identities are off, or the signing request is malformed.
            IdentityMismatch: The request is of another key: whoever has a new one joins again.
        """
        authority = self._required()
        if caller is None:
            raise RequestInvalid("this coordinator runs without identities (--insecure): there is nothing to renew")
        if key_digest(key_of_request(request)) != caller.key_sha256:
            raise IdentityMismatch("the signing request is not of the certificate's key: join again to change the key")
        logger.info("certificate renewed agent=%s", caller.identity.name)
        return answer_request(authority, request, caller.identity, days=self._days, now=self._now())

    async def grant(self, wanted: JoinGrant, *, created_by: str) -> None:
        """Keep a join grant that an operator asked for.

        Raises:
            RequestInvalid: A field is out of its range.
        """
        now = self._clock.now()
        checks = [
            (bool(_TOKEN_ID.fullmatch(wanted.token_id)), "the token's id must be 16 to 64 lowercase hex digits"),
            (bool(SHA256_HEX.fullmatch(wanted.secret_sha256)), "the secret's digest must be a SHA-256 in hex"),
            (_is_pattern(wanted.agent), f"{wanted.agent[:64]!r} must be an agent's id, or a beginning of one and '*'"),
            (
                bool(wanted.federations) and all(_is_federation(name) for name in wanted.federations),
                "name the federations that the agent may join, or '*' for all",
            ),
            (1 <= wanted.uses <= MOST_USES, f"a token can be used 1 to {MOST_USES} times, not {wanted.uses}"),
            (
                now < wanted.expires_at <= now + LONGEST_GRANT_SECONDS,
                f"a token must expire in the future, within {LONGEST_GRANT_SECONDS / 86_400:.0f} days",
            ),
        ]
        for holds, advice in checks:
            if not holds:
                raise RequestInvalid(advice)
        await self._store.identities.grant(
            JoinGrant(
                token_id=wanted.token_id,
                secret_sha256=wanted.secret_sha256,
                agent=wanted.agent,
                federations=tuple(sorted(set(wanted.federations))),
                uses=wanted.uses,
                created_at=now,
                expires_at=wanted.expires_at,
                created_by=created_by,
            )
        )
        logger.info("join grant made token=%s agent=%s by=%s", wanted.token_id, wanted.agent, created_by)

    def _required(self) -> Authority:
        if self._authority is None:
            raise RequestInvalid(
                "this coordinator lets nobody in: start it with the agents' authority and its key "
                "(--agent-ca-file, --agent-ca-key-file, or --identity-dir)"
            )
        return self._authority

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)


def _is_pattern(agent: str) -> bool:
    beginning = agent.removesuffix("*")
    return bool(AGENT_ID.fullmatch(beginning)) or agent == "*"


def _is_federation(name: str) -> bool:
    return name == EVERY_FEDERATION or bool(FEDERATION_NAME.fullmatch(name))
