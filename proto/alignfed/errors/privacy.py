"""Limits of differential privacy, in the agent and at the merge."""

from __future__ import annotations

from alignfed.errors.base import Rejected


class PrivacyBudgetSpent(Rejected):
    """Going on would make the privacy loss larger than was allowed."""

    reason = "PRIVACY_BUDGET_SPENT"


class ParticipatedTooSoon(Rejected):
    """The agent took part in a merge so lately that the plan's privacy rules keep it out of this one."""

    reason = "PARTICIPATED_TOO_SOON"
