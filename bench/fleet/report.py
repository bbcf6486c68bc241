"""What a run has found out, as plain values; `bench.fleet.wording` writes them for people."""

from __future__ import annotations

import dataclasses
import os
import platform
from typing import Any

import grpc

from bench.fleet.account import sharing, staleness_of
from bench.fleet.deployment import STORE
from bench.fleet.run import Outcome, Part
from bench.fleet.spread import Spread, spreads, typical
from bench.fleet.stretch import ANSWERED, Look, Stretch
from coordinator.local.cluster import COORDINATOR, WORKER

TOLD_SHARE = 0.9
"""A version counts for how news spread when this share of the fleet has learnt of it."""
TIMED = ("polls", "queries", "uploads", "downloads", "own_lag")
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return everything as plain JSON values, with what it was measured on. Times are seconds unless named."""
    settings, found = outcome.settings, outcome.published
    steps = [_stretch(step, outcome) for step in outcome.stretches]
    following = TOLD_SHARE * outcome.registered / settings.federations * settings.following_ratio
    heard = spreads(outcome.whole.after.figures.news, found.made_at, least_told=round(following))
    return {
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "grpcio": grpc.__version__,
            "shared": "the processors are shared by the load generator and the deployment",
        },
        "settings": {
            **settings.to_dict(),
            "merged_at_once": settings.merged_at_once,
            "offered_per_second": settings.offered_per_second,
            "all_connections": settings.processes * settings.connections,
        },
        "registered": outcome.registered,
        "stretches": steps,
        "knee": None if outcome.knee is None else dataclasses.asdict(outcome.knee),
        "news": _news(heard),
        "account": dataclasses.asdict(outcome.account),
        "federations": [_part(part) for part in outcome.parts],
        "accepted_by": outcome.accepted_by,
        "staleness_versions": {str(k): n for k, n in staleness_of(found.merged).items()},
        "sharing": {
            name: dataclasses.asdict(it) for name, it in sharing(outcome.tier_of, found.merged, settings.tiers).items()
        },
        "refusals": dict(outcome.whole.after.figures.refusals),
        "failures": dict(outcome.whole.after.figures.failures),
        "costs": _costs(outcome),
    }


def _part(part: Part) -> dict[str, Any]:
    return {
        "federation": part.federation,
        "leader": part.leader,
        "versions": len(part.published.made_at),
        "account": dataclasses.asdict(part.account),
    }


def _stretch(step: Stretch, outcome: Outcome) -> dict[str, Any]:
    figures, found = step.figures, outcome.published
    made = [version for version, at in found.made_at.items() if step.before.at <= at < step.after.at]
    return {
        "factor": step.factor,
        "seconds": step.seconds,
        "offered_per_second": outcome.settings.offered_per_second * step.factor,
        "acknowledged_per_second": step.per_second("acknowledged"),
        "merged_per_second": step.merged_per_second(found.made_at, found.sizes),
        "versions_per_second": len(made) / step.seconds,
        "answers_per_second": step.answers_per_second,
        "per_second": {name: step.per_second(name) for name in ANSWERED},
        "queued": step.after.queued,
        "loads": {name: step.load(name) for name in step.after.usages},
        "fullness": {name: step.fullness(name) for name in step.after.usages},
        "generator_load": step.generator_load,
        "durations": {
            what: {name: step.quantile(what, fraction) for name, fraction in QUANTILES.items()}
            for what in TIMED
            if what in figures.durations
        },
        "refusals": dict(figures.refusals),
        "failures": dict(figures.failures),
        "paced_waits": figures.counts["paced_waits"],
        "dropouts": figures.counts["dropouts"],
    }


def _news(heard: list[Spread]) -> dict[str, Any]:
    """Return the median over versions of each figure, the worst last agent, and every version."""
    names = ("p50", "p99", "last", "fanned_p50", "fanned_p99", "fanned_last")
    return {
        "versions": len(heard),
        "medians": {name: typical(heard, lambda it, name=name: float(getattr(it, name))) for name in names},  # type: ignore[misc]  # a default binds the loop's name
        "worst_last": max((spread.last for spread in heard), default=None),
        "each": [dataclasses.asdict(spread) for spread in heard],
    }


def _costs(outcome: Outcome) -> dict[str, Any]:
    """Return what one of each costs; None for what is not on this machine or did not happen.

    Processor time is a whole process' over the first stretch, divided by one kind of event: it is a unit cost only in a
    run where that kind is nearly all there is.
    """
    step, whole = outcome.stretches[0], outcome.whole
    counts = step.figures.counts
    coordinator, worker = _cpu_seconds(step, COORDINATOR), _cpu_seconds(step, WORKER)
    merged = step.merged_per_second(outcome.published.made_at, outcome.published.sizes) * step.seconds
    polls = counts["polls"] + counts["long_polls"]
    answers = step.answers_per_second * step.seconds
    return {
        "coordinator_cpu_seconds_per_thousand_polls": _each(coordinator, polls, 1000),
        "coordinator_cpu_ms_per_answer": _each(coordinator, answers, 1000),
        "coordinator_cpu_ms_per_watch_event": _each(coordinator, counts["watch_events"], 1000),
        "coordinator_cpu_ms_per_upload": _each(coordinator, counts["uploads"], 1000),
        "coordinator_kib_per_agent": _grown(COORDINATOR, outcome.alone, whole.before, outcome.registered, 1 / 1024),
        "store_bytes_per_agent": _grown(STORE, outcome.alone, whole.before, outcome.registered, 1.0),
        "store_bytes_per_delta": _grown(STORE, step.before, step.after, counts["acknowledged"], 1.0),
        "worker_cpu_ms_per_merged_delta": _each(worker, merged, 1000),
    }


def _cpu_seconds(step: Stretch, role: str) -> float | None:
    """Return the processor time of all processes of a role."""
    names = step.processes(role)
    return sum(step.cpu_seconds(name) or 0.0 for name in names) if names else None


def _grown(role: str, before: Look, after: Look, count: int, scale: float) -> float | None:
    """Return by how much the memory of a role's processes grew for each of so many things, in bytes times `scale`."""
    names = Stretch(factor=1.0, before=before, after=after).processes(role)
    if not names or not count:
        return None
    grown = sum(after.usages[name].resident_bytes - before.usages[name].resident_bytes for name in names)
    return scale * grown / count


def _each(total: float | None, count: float, scale: float) -> float | None:
    return None if total is None or not count else scale * total / count
