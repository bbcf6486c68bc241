"""Checks of federations: does a worker lead each, does its queue move, are its payloads there."""

from __future__ import annotations

from coordinator.cli.doctor.findings import Finding, ok, problem, warning
from coordinator.cli.operator_views import FederationHealthView, FederationView

LATE_BUFFERS = 2.0
"""The oldest delta may wait this many buffer timeouts before something is wrong."""


def check_federation(view: FederationView, health: FederationHealthView, *, now: float) -> list[Finding]:
    """Check one federation at a time `now` (Unix seconds of this machine)."""
    return [_leader(health), _queue(view, now), *_dead_letters(view), *_payloads(health)]


def _leader(health: FederationHealthView) -> Finding:
    check = f"worker of {health.federation}"
    if not health.worker_id:
        return problem(
            check,
            "no worker leads it: nothing is merged",
            "start `alignfed worker` on the coordinator's store; if one runs, its log says why it cannot lead",
        )
    return ok(check, f"{health.worker_id} leads, its lease runs {health.lease_left_seconds:.0f} s more")


def _queue(view: FederationView, now: float) -> Finding:
    name, plan = view.plan.federation, view.plan
    check = f"queue of {name}"
    found = f"{view.queued} of at most {plan.limits.max_queue_deltas} deltas wait"
    if view.queued >= plan.limits.max_queue_deltas:
        advice = "uploads are refused until versions are published: look at the worker" + (
            f", and resume with `alignfed resume {name}`" if view.head.paused else ""
        )
        return problem(check, f"{found}: it is full", advice)
    if view.head.hold_reason:
        return problem(
            check,
            f"{found}, and merging is on hold: {view.head.hold_reason}",
            f"once that is mended, go on with `alignfed resume {name}`",
        )
    if view.head.paused:
        return warning(check, f"{found}, and merging is paused", f"go on with `alignfed resume {name}`")
    waited = 0.0 if view.oldest_queued_at is None else now - view.oldest_queued_at
    if waited > LATE_BUFFERS * plan.buffer.timeout_seconds:
        return warning(
            check,
            f"{found}, the oldest for {waited:.0f} s although a merge is due after {plan.buffer.timeout_seconds:g} s",
            "look into the worker's log for merges that fail or take too long",
        )
    return ok(check, found)


def _dead_letters(view: FederationView) -> list[Finding]:
    if not view.dead:
        return []
    name = view.plan.federation
    return [
        warning(
            f"dead letters of {name}",
            f"{view.dead} delta{'s' if view.dead > 1 else ''} could not be merged after several tries",
            f"list them with `alignfed dead-letters list {name}`, mend what the worker's log says, requeue or drop",
        )
    ]


def _payloads(health: FederationHealthView) -> list[Finding]:
    check = f"payloads of {health.federation}"
    restore = "the store has lost a part of it: restore the store from a backup"
    if not health.head_stored:
        return [problem(check, "the head's adapter is not stored whole: agents cannot pull it", restore)]
    if health.calibration_wanted and not health.calibration_stored:
        return [problem(check, "the plan uses calibration rows, but no calibration set is stored whole", restore)]
    rows = "with a calibration set" if health.calibration_stored else "no calibration set, and the plan uses none"
    return [ok(check, f"the head's adapter is stored, {rows}")]
