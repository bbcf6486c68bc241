"""What the doctor makes of figures: each kind of trouble has its outcome and its next step."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from alignfed import __version__
from coordinator.cli.doctor.agent_state import check_agent_state
from coordinator.cli.doctor.certificates import judge_expiry
from coordinator.cli.doctor.clocks import check_here, check_store_clocks
from coordinator.cli.doctor.disks import judge_room
from coordinator.cli.doctor.federations import check_federation
from coordinator.cli.doctor.findings import Finding, Outcome, as_text, not_checked, ok, problem, summary, warning
from coordinator.cli.doctor.store import check_store
from coordinator.cli.doctor.target import beside
from coordinator.cli.doctor.versions import check_agents, check_coordinator, check_worker
from coordinator.cli.operator_views import AgentView, FederationHealthView, FederationView, InspectionView
from coordinator.domain import AgentRecord, Contribution, Head, StoreServer, VersionId
from tests.support.stores import NOW, new_plan

GIB = 1 << 30
SERVER = StoreServer(
    software="Valkey 9.0.1", now=NOW, eviction_policy="noeviction", append_only=True, append_fsync="everysec",
    memory_used_bytes=GIB, memory_limit_bytes=4 * GIB,
)  # fmt: skip


def inspection(**changes: object) -> InspectionView:
    view = InspectionView(software_version=__version__, now=NOW, store=(SERVER,), store_problem="", federations=())
    return dataclasses.replace(view, **changes)  # type: ignore[arg-type]


def store_findings(**changes: object) -> dict[str, Finding]:
    server = dataclasses.replace(SERVER, **changes)  # type: ignore[arg-type]
    return {finding.check: finding for finding in check_store(inspection(store=(server,)), "the coordinator")}


def test_a_safe_store_needs_nothing() -> None:
    assert {finding.outcome for finding in store_findings().values()} == {Outcome.OK}


@pytest.mark.parametrize(
    ("changes", "check", "outcome", "advice"),
    [
        ({"eviction_policy": "allkeys-lru"}, "store eviction", Outcome.PROBLEM, "maxmemory-policy noeviction"),
        ({"eviction_policy": ""}, "store eviction", Outcome.WARNING, "noeviction"),
        ({"append_only": False}, "store durability", Outcome.PROBLEM, "appendonly yes"),
        ({"append_failing": True}, "store durability", Outcome.PROBLEM, "disk's space"),
        ({"append_fsync": "no"}, "store durability", Outcome.WARNING, "everysec"),
        ({"memory_used_bytes": int(3.7 * GIB)}, "store memory", Outcome.PROBLEM, "maxmemory"),
        ({"memory_used_bytes": int(3.2 * GIB)}, "store memory", Outcome.WARNING, "maxmemory"),
    ],
)
def test_an_unsafe_store_is_told_with_the_setting_that_mends_it(
    changes: dict[str, object], check: str, outcome: Outcome, advice: str
) -> None:
    finding = store_findings(**changes)[check]
    assert finding.outcome is outcome
    assert advice in finding.advice


def test_a_store_that_is_away_and_one_that_is_too_old_are_problems() -> None:
    [away] = check_store(inspection(store=(), store_problem="it does not answer"), "the coordinator")
    assert (away.outcome, "it does not answer" in away.found) == (Outcome.PROBLEM, True)
    old = check_store(inspection(store_problem="the store is Redis 6.2: AlignFed needs Redis 7.0"), "the coordinator")[
        0
    ]
    assert (old.outcome, "needs Redis 7.0" in old.found) == (Outcome.PROBLEM, True)


def test_clocks_may_differ_by_five_seconds_and_what_the_measurement_took() -> None:
    assert check_here(inspection(), NOW + 4.8, NOW + 4.9).outcome is Outcome.OK
    assert check_here(inspection(), NOW + 5, NOW + 11).outcome is Outcome.OK
    late = check_here(inspection(), NOW - 20, NOW - 19)
    assert (late.outcome, "19.5 s behind the coordinator's" in late.found) == (Outcome.WARNING, True)
    [store] = check_store_clocks(inspection(store=(dataclasses.replace(SERVER, now=NOW + 60),)))
    assert (store.outcome, "60.0 s ahead" in store.found, "NTP" in store.advice) == (Outcome.WARNING, True, True)


def test_certificates_warn_three_weeks_before_they_expire() -> None:
    assert judge_expiry("certificate", "here", 22).outcome is Outcome.OK
    assert judge_expiry("certificate", "here", 20).outcome is Outcome.WARNING


def test_disks_need_room_for_the_store_to_rewrite_its_file() -> None:
    folder = Path("data")
    assert judge_room("disk", folder, 2 * GIB, 0).outcome is Outcome.OK
    assert judge_room("disk", folder, 2 * GIB, 3 * GIB).outcome is Outcome.WARNING
    assert judge_room("disk", folder, 100 << 20, 0).outcome is Outcome.PROBLEM


def test_versions_that_differ_are_told() -> None:
    assert check_coordinator(__version__).outcome is Outcome.OK
    assert check_coordinator("0.0.7").outcome is Outcome.WARNING
    assert check_worker("", __version__).outcome is Outcome.NOT_CHECKED
    assert check_worker("0.0.7", __version__).outcome is Outcome.WARNING


def an_agent(name: str, version: str, *, seen: float = 5.0) -> AgentView:
    record = AgentRecord(agent_id=name, registered_at=NOW, last_seen_at=NOW - seen, software_version=version)
    return AgentView(agent=record, contribution=Contribution())


def test_agents_of_another_version_are_named_and_absent_ones_do_not_count() -> None:
    fleet = [an_agent("new", "2.0"), an_agent("old", "1.0"), an_agent("gone", "0.1", seen=100_000)]
    found = check_agents("demo", fleet, coordinator="2.0", now=NOW)
    assert (found.outcome, found.advice) == (Outcome.WARNING, "update these agents: old")
    assert check_agents("demo", fleet[:1], coordinator="2.0", now=NOW).outcome is Outcome.OK
    assert "none has registered" in check_agents("demo", [], coordinator="2.0", now=NOW).found


HEALTH = FederationHealthView(
    federation="demo", worker_id="w-1", lease_left_seconds=9.0, paused=False, head_stored=True, calibration_wanted=True,
    calibration_stored=True,
)  # fmt: skip
VIEW = FederationView(
    plan=new_plan("demo", max_queue_deltas=10),
    head=Head(id=VersionId(epoch=1, number=2, digest="ab"), oldest_retained=0),
    queued=1, pending=0, dead=0, agents=1, created_at=NOW, oldest_queued_at=NOW - 10,
)  # fmt: skip


@pytest.mark.parametrize(
    ("view", "health", "check", "outcome", "advice"),
    [
        ({}, {"worker_id": ""}, "worker of demo", Outcome.PROBLEM, "start `alignfed worker`"),
        ({}, {"head_stored": False}, "payloads of demo", Outcome.PROBLEM, "backup"),
        ({}, {"calibration_stored": False}, "payloads of demo", Outcome.PROBLEM, "backup"),
        ({"queued": 10}, {}, "queue of demo", Outcome.PROBLEM, "look at the worker"),
        ({"oldest_queued_at": NOW - 5_000}, {}, "queue of demo", Outcome.WARNING, "worker's log"),
        ({"dead": 2}, {}, "dead letters of demo", Outcome.WARNING, "alignfed dead-letters list demo"),
    ],
)
def test_a_federation_in_trouble_is_told(
    view: dict[str, object], health: dict[str, object], check: str, outcome: Outcome, advice: str
) -> None:
    findings = check_federation(
        dataclasses.replace(VIEW, **view),  # type: ignore[arg-type]
        dataclasses.replace(HEALTH, **health),  # type: ignore[arg-type]
        now=NOW,
    )
    [finding] = [it for it in findings if it.check == check]
    assert finding.outcome is outcome
    assert advice in finding.advice
    assert {it.outcome for it in findings if it.check != check} == {Outcome.OK}


def test_a_paused_federation_says_how_to_go_on() -> None:
    paused = dataclasses.replace(VIEW, head=dataclasses.replace(VIEW.head, paused=True))
    finding = check_federation(paused, HEALTH, now=NOW)[1]
    assert (finding.outcome, "alignfed resume demo" in finding.advice) == (Outcome.WARNING, True)


def test_text_names_check_outcome_and_next_step() -> None:
    findings = [
        ok("a", "well"),
        warning("b", "hm", "do b"),
        problem("c", "bad", "do c"),
        not_checked("d", "no", "do d"),
    ]
    shown = as_text(findings)
    assert "-> do c" in shown
    assert "PROBLEM" in shown
    assert summary(findings) == "1 problem, 1 warning, 1 ok, 1 not checked"


def test_addresses_beside_the_operators_are_guesses_until_they_are_named() -> None:
    assert beside("host:7301", "", 7300).address == "host:7300"
    assert beside("[::1]:7301", "", 7300).address == "[::1]:7300"
    assert (beside("host:7301", "", 7300).guessed, beside("host:7301", "host:1", 7300).guessed) == (True, False)


@pytest.mark.parametrize(("totals", "told"), [({"made": 5, "dropped": 2}, True), ({"made": 5}, False), (None, False)])
def test_deltas_that_an_agent_had_no_room_for_are_told(tmp_path: Path, totals: object, told: bool) -> None:
    state = {"federation": "demo", "agent_id": "agent-1", "totals": totals}
    (tmp_path / "state.json").write_text(json.dumps(state))
    findings = [found for found in check_agent_state(tmp_path, {}) if found.check == "agent's room"]
    assert bool(findings) is told
    assert all("2 deltas dropped" in it.found for it in findings)
    assert all("--max-outbox-bytes" in it.advice for it in findings)
