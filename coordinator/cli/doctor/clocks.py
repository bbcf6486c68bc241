"""Checks of clocks: here, the coordinator's, the store's."""

from __future__ import annotations

from coordinator.cli.doctor.findings import Finding, ok, warning
from coordinator.cli.operator_views import InspectionView

BOUND_SECONDS = 5.0
"""Difference from which ages and times shown mislead. No merge depends on clocks; leases are the store's own time."""


def check_here(inspection: InspectionView, asked_at: float, answered_at: float) -> Finding:
    """Check this machine's clock against the coordinator's.

    Args:
        inspection: The coordinator's answer.
        asked_at: This machine's clock before it, Unix seconds.
        answered_at: And after it.
    """
    unsure = (answered_at - asked_at) / 2
    return judge(
        "clock here", "this machine's", "the coordinator's", (asked_at + answered_at) / 2 - inspection.now, unsure
    )


def check_store_clocks(inspection: InspectionView) -> list[Finding]:
    """Check the coordinator's clock against each store server's."""
    return [
        judge("clock of the store", "the store's", "the coordinator's", server.now - inspection.now, 0.0)
        for server in inspection.store
    ]


def judge(check: str, one: str, other: str, ahead_seconds: float, unsure_seconds: float) -> Finding:
    """Judge how far one clock is ahead of another, give or take what the measurement took."""
    direction = "ahead of" if ahead_seconds > 0 else "behind"
    found = f"{one} clock is {abs(ahead_seconds):.1f} s {direction} {other}"
    if abs(ahead_seconds) - unsure_seconds > BOUND_SECONDS:
        advice = (
            f"more than {BOUND_SECONDS:g} s: ages and times shown are wrong by that, and certificates may seem "
            "expired; run NTP or chrony on both machines"
        )
        return warning(check, found, advice)
    return ok(check, f"{found} (at most {BOUND_SECONDS:g} s is fine)")
