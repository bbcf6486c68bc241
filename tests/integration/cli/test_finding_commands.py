"""`alignfed explain`, `top --once` and `doctor` against a real coordinator over a real Valkey store."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from alignfed import __version__
from alignfed.exposition import metrics_served, new_registry
from alignfed.plan import BaseModel, FederationPlan
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.cli.main import main
from coordinator.domain import AgentRecord, MergedDelta, Rejection
from tests.support.live_coordinator import LiveCoordinator
from tests.support.servers import free_port, running_redis
from tests.support.stores import new_commit, new_delta, submit, take_lease
from tests.support.tiny_federation import fresh_adapter, tiny_plan

FEDERATION = "tiny-fed"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[LiveCoordinator]:
    with EmbeddedValkey(tmp_path / "store") as server, LiveCoordinator() as live:
        live.store = open_store(server.url)
        live.start()
        yield live
        live.run(live.store.close())


@pytest.fixture
def run(coordinator: LiveCoordinator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `alignfed` against the coordinator; returns exit code, stdout and stderr."""
    monkeypatch.setenv("ALIGNFED_OPERATOR", coordinator.operator_address)

    def run_once(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run_once


@pytest.fixture
def plan(coordinator: LiveCoordinator, tiny_model_dir: Path) -> FederationPlan:
    return create(coordinator, tiny_plan(tiny_model_dir, federation=FEDERATION))


def create(live: LiveCoordinator, plan: FederationPlan) -> FederationPlan:
    """Create a federation with two agents that have just called."""
    live.create(plan, fresh_adapter(plan))
    for agent_id in ("agent-1", "agent-2"):
        agent = AgentRecord(
            agent_id=agent_id, registered_at=time.time(), last_seen_at=time.time(), software_version=__version__
        )
        live.run(live.store.agents.register(plan.federation, agent))
    return plan


def merge(live: LiveCoordinator) -> tuple[MergedDelta, ...]:
    """Merge two deltas, one of which counts a quarter, and return their parts."""

    async def go() -> tuple[MergedDelta, ...]:
        for agent_id in ("agent-1", "agent-2"):
            await submit(live.store, FEDERATION, agent_id=agent_id, accepted_at=time.time())
        token = await take_lease(live.store, FEDERATION)
        queued = await live.store.deltas.claim(FEDERATION, "worker-1", limit=10)
        commit = await new_commit(live.store, FEDERATION, token, queued, weights=(0.25, 0.75))
        await live.store.versions.commit(commit)
        assert commit.version.merge is not None
        return commit.version.merge.deltas

    return live.run(go())


def test_a_merged_delta_is_explained_in_words_and_as_json(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan
) -> None:
    light, _ = merge(coordinator)
    code, shown, _ = run("explain", light.delta_id)
    assert code == 0
    assert "merged into version 1" in shown
    assert "taken with 0.50 of the weight an even share would have had" in " ".join(shown.split())
    code, shown, _ = run("explain", light.delta_id, "--federation", FEDERATION, "--json")
    found = json.loads(shown)
    assert (found["fate"], found["merge"]["taken"]["of_even_share"]) == ("merged", 0.5)
    assert found["merge"]["delta"]["delta_id"] == light.delta_id


def test_a_delta_of_an_abandoned_version_names_the_rollback(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan
) -> None:
    light, _ = merge(coordinator)
    assert run("rollback", FEDERATION, "0")[0] == 0
    _, shown, _ = run("explain", light.delta_id)
    assert "abandoned by the rollback that published version 2" in " ".join(shown.split())


def test_a_waiting_delta_says_what_it_waits_for(coordinator: LiveCoordinator, run: Run, plan: FederationPlan) -> None:
    delta = coordinator.run(submit(coordinator.store, FEDERATION))
    _, shown, _ = run("explain", delta.delta_id)
    assert "waits in the queue, 1 of 1" in shown
    assert "a merge begins when 2 deltas wait" in shown
    run("pause", FEDERATION)
    assert "`alignfed resume tiny-fed`" in run("explain", delta.delta_id)[1]


def test_a_rejected_delta_and_a_dead_letter_say_what_to_do(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan
) -> None:
    async def go() -> tuple[str, str]:
        for _ in range(2):
            await submit(coordinator.store, FEDERATION)
        token = await take_lease(coordinator.store, FEDERATION)
        one, other = await coordinator.store.deltas.claim(FEDERATION, "worker-1", limit=10)
        rejection = Rejection(queued=one, reason="NON_FINITE", detail="lower the learning rate")
        await coordinator.store.deltas.reject(FEDERATION, token, [rejection])
        await coordinator.store.deltas.bury(FEDERATION, token, other, detail="it kills", at=time.time())
        return one.delta.delta_id, other.delta.delta_id

    rejected, dead = coordinator.run(go())
    shown = run("explain", rejected)[1]
    assert "rejected for good: NON_FINITE" in shown
    assert "lower the learning rate" in shown
    assert f"alignfed dead-letters requeue tiny-fed {dead}" in " ".join(run("explain", dead)[1].split())


def test_a_beginning_will_do_and_an_unknown_delta_says_where_to_look(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan
) -> None:
    delta = coordinator.run(new_delta(coordinator.store, FEDERATION, delta_id="5e0fab12-1"))
    coordinator.run(coordinator.store.deltas.accept(delta))
    assert "5e0fab12-1" in run("explain", "5e0fa")[1]
    code, _, said = run("explain", "99999999")
    assert code != 0
    assert "outbox" in said


def test_top_prints_one_plain_frame_where_there_is_no_terminal(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan
) -> None:
    merge(coordinator)
    code, shown, _ = run("top")
    assert code == 0
    assert f"{FEDERATION}  version 1" in shown
    assert "staleness of the last 2 merged deltas" in shown
    assert "75.0 %" in shown
    assert "\x1b" not in shown
    assert run("top", "--once", "nowhere")[0] != 0


Findings = dict[str, dict[str, Any]]


def examine(run: Run, *arguments: str) -> tuple[int, Findings]:
    code, shown, _ = run("doctor", "--json", *arguments)
    return code, {finding["check"]: finding for finding in json.loads(shown)}


def test_the_doctor_finds_nothing_wrong_with_a_sound_installation(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan, tmp_path: Path
) -> None:
    coordinator.run(take_lease(coordinator.store, FEDERATION))
    with metrics_served(new_registry("coordinator"), "127.0.0.1:0") as http, \
            metrics_served(new_registry("worker"), "127.0.0.1:0") as worker:  # fmt: skip
        code, findings = examine(
            run, "--agents", coordinator.address, "--http", f"127.0.0.1:{http}", "--worker-http", f"127.0.0.1:{worker}",
            "--data-dir", str(tmp_path / "store"),
        )  # fmt: skip
    assert {check: it["outcome"] for check, it in findings.items() if it["outcome"] != "ok"} == {
        "operator certificate": "not checked"
    }
    assert code == 0
    assert {"base model of tiny-fed", "worker version", "clock here", "store durability"} <= set(findings)


def test_the_doctor_wants_a_worker(coordinator: LiveCoordinator, run: Run, plan: FederationPlan) -> None:
    code, findings = examine(run)
    assert code == 1
    assert findings["worker of tiny-fed"]["outcome"] == "problem"
    assert "alignfed worker" in findings["worker of tiny-fed"]["advice"]


def test_the_doctor_notices_exchanged_and_foreign_addresses(coordinator: LiveCoordinator, run: Run) -> None:
    code, findings = examine(run, "--operator", coordinator.address, "--agents", coordinator.operator_address)
    assert code == 1
    assert "7301" in findings["operator address"]["advice"]
    assert "7300" in findings["agents' address"]["advice"]
    assert findings["federations"]["outcome"] == "not checked"
    with metrics_served(new_registry("worker"), "127.0.0.1:0") as port:
        place = f"127.0.0.1:{port}"
        _, findings = examine(run, "--operator", place, "--http", place)
        assert "HTTP server" in findings["operator address"]["found"]
        assert "the worker's, not the coordinator's" in findings["HTTP address"]["found"]


def test_the_doctor_tells_nobody_from_somebody_silent(coordinator: LiveCoordinator, run: Run) -> None:
    _, findings = examine(run, "--operator", f"127.0.0.1:{free_port()}")
    assert "refused" in findings["operator address"]["found"]
    assert "alignfed coordinator" in findings["operator address"]["advice"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        _, findings = examine(run, "--operator", place, "--timeout", "0.5")
    assert "says nothing" in findings["operator address"]["found"]
    assert findings["operator address"]["outcome"] == "problem"


def test_the_doctor_compares_base_models(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan, tmp_path: Path, tiny_model_dir: Path
) -> None:
    other = shutil.copytree(tiny_model_dir, tmp_path / "other")
    weights = next(other.glob("*.safetensors"))
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    _, findings = examine(run, "--base-model", str(other))
    assert findings["base model of tiny-fed"]["outcome"] == "problem"
    assert "refuse" in findings["base model of tiny-fed"]["advice"]
    _, findings = examine(run, "--base-model", str(tmp_path / "missing"))
    assert findings["base model of tiny-fed"]["outcome"] == "problem"
    hub = dataclasses.replace(plan, federation="from-hub", base_model=BaseModel(name="some/model", digest="ab" * 32))
    create(coordinator, hub)
    assert examine(run, "from-hub")[1]["base model of from-hub"]["outcome"] == "not checked"


def test_the_doctor_finds_an_unsafe_store(run: Run, coordinator: LiveCoordinator) -> None:
    with running_redis({"appendonly": "no", "maxmemory-policy": "allkeys-lru", "maxmemory": "100mb"}) as unsafe:
        with LiveCoordinator() as other:
            other.store = open_store(unsafe.url)
            other.start()
            code, findings = examine(run, "--operator", other.operator_address)
            other.run(other.store.close())
        assert code == 1
        assert "maxmemory-policy noeviction" in findings["store eviction"]["advice"]
        assert "appendonly yes" in findings["store durability"]["advice"]
        _, findings = examine(run, "--operator", f"127.0.0.1:{free_port()}", "--store-url", unsafe.url)
        assert findings["store eviction"]["outcome"] == "problem"
    _, findings = examine(run, "--store-url", unsafe.url)
    assert findings["store from here"]["outcome"] == "problem"
    _, findings = examine(run, "--store-url", "nonsense")
    assert findings["store from here"]["advice"] == "correct --store-url or --blob-url"


def test_the_doctor_looks_into_disks_and_an_agents_state(
    coordinator: LiveCoordinator, run: Run, plan: FederationPlan, tmp_path: Path
) -> None:
    state = tmp_path / "agent"
    _, findings = examine(run, "--data-dir", str(tmp_path / "nowhere"), "--state-dir", str(state))
    assert findings["disk of the store"]["outcome"] == "problem"
    assert findings["agent's state"]["outcome"] == "problem"

    (state / "outbox" / "rejected" / "0001").mkdir(parents=True)
    (state / "outbox" / "rejected" / "0001" / "rejection.json").write_text('{"reason": "NON_FINITE", "detail": "oh"}')
    (state / "outbox" / "pending" / "0002").mkdir(parents=True)
    (state / "state.json").write_text(json.dumps({"federation": FEDERATION, "agent_id": "agent-1"}))
    _, findings = examine(run, "--state-dir", str(state))
    assert findings["agent's outbox"]["found"] == "1 to upload, 0 uploaded and kept until merged"
    assert "NON_FINITE" in findings["agent's rejections"]["found"]
    assert findings["agent's registration"]["outcome"] == "ok"
    run("agents", "revoke", FEDERATION, "agent-1")
    _, findings = examine(run, "--state-dir", str(state))
    assert findings["agent's registration"]["outcome"] == "problem"


def test_the_doctor_prints_for_people_too(coordinator: LiveCoordinator, run: Run, plan: FederationPlan) -> None:
    code, shown, _ = run("doctor")
    assert code == 1
    assert "PROBLEM      worker of tiny-fed" in shown
    assert "-> start `alignfed worker`" in shown
    assert shown.splitlines()[-1].startswith("1 problem, ")
