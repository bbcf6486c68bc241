"""Checks of the store: whether it answers, and whether it can lose or refuse deltas as it is set up."""

from __future__ import annotations

from coordinator.cli.doctor.findings import Finding, ok, problem, warning
from coordinator.cli.operator_views import InspectionView
from coordinator.domain import StoreServer

FULL_RATIO = 0.9
"""Above this share of its memory limit the next large upload may be refused."""

FILLING_RATIO = 0.75

_MIB = 1 << 20


def check_store(inspection: InspectionView, whose: str) -> list[Finding]:
    """Check the store's servers.

    Args:
        inspection: What was found.
        whose: Who asked the store, for messages: `the coordinator` or `this machine`.
    """
    if not inspection.store:
        advice = "start the store, or correct its URL; deltas wait with the agents meanwhile"
        return [problem("store", f"{whose} does not reach it: {inspection.store_problem}", advice)]
    names = ", ".join(server.software for server in inspection.store)
    findings = [ok("store", f"answers {whose}: {names}")]
    told = all(server.eviction_policy == "noeviction" for server in inspection.store)
    if inspection.store_problem and told:
        findings = [problem("store", inspection.store_problem, "mend this first: processes refuse to start with it")]
    for server in inspection.store:
        findings += [_eviction(server), _append_only(server), _memory(server)]
    return findings


def _eviction(server: StoreServer) -> Finding:
    policy = server.eviction_policy
    if policy == "noeviction":
        return ok("store eviction", "maxmemory-policy noeviction: nothing is deleted when memory is short")
    if not policy:
        return warning("store eviction", "the store does not tell its policy", "see that it is noeviction")
    return problem(
        "store eviction",
        f"maxmemory-policy {policy}: deltas and adapters are deleted when memory is short",
        "set `maxmemory-policy noeviction` in its configuration and, at once, with CONFIG SET",
    )


def _append_only(server: StoreServer) -> Finding:
    check = "store durability"
    if not server.append_only:
        return problem(
            check,
            "no append-only file: a restart of the store loses deltas that agents believe delivered",
            "set `appendonly yes` in its configuration",
        )
    if server.append_failing:
        return problem(check, "its last write to the append-only file failed", "look at its log and its disk's space")
    if server.append_fsync == "no":
        return warning(
            check,
            "appendfsync no: a machine that loses power loses up to half a minute of deltas",
            "set `appendfsync everysec`, or `always` to lose nothing",
        )
    if not server.append_fsync:
        return ok(check, "append-only file is on; the store does not tell its appendfsync")
    lost = {"everysec": "a machine that loses power loses the last second", "always": "nothing is lost"}
    return ok(check, f"append-only file, appendfsync {server.append_fsync}: {lost.get(server.append_fsync, '')}")


def _memory(server: StoreServer) -> Finding:
    check = "store memory"
    used, limit = server.memory_used_bytes, server.memory_limit_bytes
    if not limit:
        return ok(check, f"{used / _MIB:.0f} MiB used, no limit set but the machine's memory")
    ratio = used / limit
    found = f"{used / _MIB:.0f} of {limit / _MIB:.0f} MiB used ({100 * ratio:.0f} %)"
    advice = "raise maxmemory, or keep less: retention.versions and retention.delta_versions of the plan"
    if ratio >= FULL_RATIO:
        return problem(check, f"{found}: uploads are refused when it is full", advice)
    return warning(check, found, advice) if ratio >= FILLING_RATIO else ok(check, found)
