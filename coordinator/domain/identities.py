"""Values of letting callers in: join grants, and what came of using one."""

from __future__ import annotations

import dataclasses
import enum


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinGrant:
    """What one join token allows.

    Attributes:
        token_id: Names it.
        secret_sha256: What is kept of its secret.
        agent: The agent's id, or a beginning of it and `*`.
        federations: What agents may join with it, sorted; `*` stands for all.
        uses: How many agents may join with it.
        created_at: When it was made, in Unix seconds.
        expires_at: From when on it is worth nothing.
        created_by: The operator who made it; empty without identities.
    """

    token_id: str
    secret_sha256: str
    agent: str
    federations: tuple[str, ...]
    uses: int
    created_at: float
    expires_at: float
    created_by: str = ""

    def admits(self, agent_id: str) -> bool:
        """Whether an agent of that id may join with it."""
        beginning = self.agent.removesuffix("*")
        return agent_id.startswith(beginning) if self.agent.endswith("*") else agent_id == self.agent

    @property
    def names_one(self) -> bool:
        """Whether it is for one agent alone: then it may give that agent a new key."""
        return not self.agent.endswith("*")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinGrantState:
    """A grant and how many uses are left of it."""

    grant: JoinGrant
    uses_left: int


class Redemption(enum.StrEnum):
    """What came of using a grant.

    `TAKEN`: another key holds the agent's id. `SPENT`: as many agents as may have joined.
    """

    GRANTED = "granted"
    UNKNOWN = "unknown"
    SPENT = "spent"
    TAKEN = "taken"
