"""Federations, agents and versions that are not what was asked for."""

from __future__ import annotations

from alignfed.errors.base import Rejected


class UnknownFederation(Rejected):
    """No federation of that name exists."""

    reason = "FEDERATION_UNKNOWN"


class FederationExists(Rejected):
    """The federation's name is taken."""

    reason = "FEDERATION_EXISTS"


class PlanInvalid(Rejected):
    """A federation plan breaks a rule."""

    reason = "PLAN_INVALID"


class UnknownAgent(Rejected):
    """The agent has not registered with this federation."""

    reason = "AGENT_UNKNOWN"


class AgentRevoked(Rejected):
    """An operator has revoked the agent."""

    reason = "AGENT_REVOKED"


class BaseVersionUnknown(Rejected):
    """The delta's base version never existed here."""

    reason = "BASE_VERSION_UNKNOWN"


class BaseVersionOtherBranch(Rejected):
    """The delta's base version was abandoned by a rollback, or belongs to another history."""

    reason = "BASE_VERSION_OTHER_BRANCH"


class BaseVersionTooOld(Rejected):
    """The delta's base version is no longer retained."""

    reason = "BASE_VERSION_TOO_OLD"


class BaseVersionInFuture(Rejected):
    """The delta's base version is newer than the head."""

    reason = "BASE_VERSION_IN_FUTURE"


class VersionNotFound(Rejected):
    """The version does not exist or its adapter is no longer retained."""

    reason = "VERSION_NOT_FOUND"


class DeltaNotFound(Rejected):
    """No delta of that id was ever accepted, and none is being uploaded."""

    reason = "DELTA_NOT_FOUND"


class DeadLetterNotFound(Rejected):
    """No dead letter has that delta id."""

    reason = "DEAD_LETTER_NOT_FOUND"
