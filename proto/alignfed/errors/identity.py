"""Who calls, and what they may do."""

from __future__ import annotations

from alignfed.errors.base import Rejected, Unavailable


class IdentityMissing(Rejected):
    """The caller shows no certificate that says who it is, or one that has expired."""

    reason = "IDENTITY_MISSING"


class IdentityMismatch(Rejected):
    """The caller claims to be an agent, or to belong to a federation, that its certificate does not name."""

    reason = "IDENTITY_MISMATCH"


class IdentityRevoked(Rejected):
    """The caller's identity or its key was revoked."""

    reason = "IDENTITY_REVOKED"


class RoleInsufficient(Rejected):
    """The operator's role does not include what was asked for."""

    reason = "ROLE_INSUFFICIENT"


class JoinTokenInvalid(Rejected):
    """The join token is unknown, expired, used up, or not for this agent."""

    reason = "JOIN_TOKEN_INVALID"


class AgentIdTaken(Rejected):
    """Another key holds a certificate for the agent id."""

    reason = "AGENT_ID_TAKEN"


class RateExceeded(Unavailable):
    """The caller asks more often than it may."""

    reason = "RATE_EXCEEDED"
