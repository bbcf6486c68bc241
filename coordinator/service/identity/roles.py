"""What each role of operators may do."""

from __future__ import annotations

from alignfed.identity import Role

ROLE_BY_METHOD: dict[str, Role] = {
    "ListFederations": Role.VIEWER,
    "GetFederation": Role.VIEWER,
    "ListVersions": Role.VIEWER,
    "GetVersion": Role.VIEWER,
    "ListAgents": Role.VIEWER,
    "ExplainDelta": Role.VIEWER,
    "InspectCoordinator": Role.VIEWER,
    "ListDeadLetters": Role.VIEWER,
    "ListJoinGrants": Role.VIEWER,
    "ExportAdapter": Role.OPERATOR,
    "PauseFederation": Role.OPERATOR,
    "ResumeFederation": Role.OPERATOR,
    "RollBackFederation": Role.OPERATOR,
    "RequeueDeadLetter": Role.OPERATOR,
    "DropDeadLetter": Role.OPERATOR,
    "RevokeAgent": Role.OPERATOR,
    "CreateFederation": Role.ADMIN,
    "CreateJoinGrant": Role.ADMIN,
    "WithdrawJoinGrant": Role.ADMIN,
    "RevokeIdentity": Role.ADMIN,
}
"""The least role for each RPC of the operators; a test proves that none is missing."""


def role_for(method: str) -> Role:
    """Return the least role for an RPC, by its name; an admin's for one that the table forgot."""
    return ROLE_BY_METHOD.get(method, Role.ADMIN)
