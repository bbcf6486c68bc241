"""Every operator command against a real coordinator over a real connection."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from alignfed.codec import decode
from alignfed.errors import CoordinatorUnreachable, ManifestMismatch, RequestInvalid, UnknownFederation, VersionNotFound
from alignfed.plan import Encoding, FederationPlan
from coordinator.cli.main import main
from coordinator.cli.operator_client import OperatorClient
from coordinator.domain import AdapterKind, DeltaState
from tests.support.live_coordinator import LiveCoordinator
from tests.support.stores import NOW, new_agent, publish, submit, take_lease
from tests.support.tiny_federation import fresh_adapter, tiny_plan

FEDERATION = "tiny-fed"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def coordinator() -> Iterator[LiveCoordinator]:
    """A running coordinator with an empty store."""
    with LiveCoordinator() as live:
        live.start()
        yield live


@pytest.fixture
def client(coordinator: LiveCoordinator) -> Iterator[OperatorClient]:
    """A client of its operator service."""
    with OperatorClient(coordinator.operator_address) as connected:
        yield connected


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
    """A federation on the tiny model with two registered agents and version 0."""
    plan = tiny_plan(tiny_model_dir, federation=FEDERATION)
    coordinator.create(plan, fresh_adapter(plan))
    for agent_id in ("agent-1", "agent-2"):
        coordinator.run(coordinator.store.agents.register(FEDERATION, new_agent(agent_id)))
    return plan


def bury(coordinator: LiveCoordinator) -> str:
    """Make a dead letter and return its delta id."""

    async def go() -> str:
        delta = await submit(coordinator.store, FEDERATION)
        token = await take_lease(coordinator.store, FEDERATION)
        [queued] = await coordinator.store.deltas.claim(FEDERATION, "worker-1", limit=10)
        await coordinator.store.deltas.bury(FEDERATION, token, queued, detail="it hurts", at=NOW)
        return delta.delta_id

    return coordinator.run(go())


def test_status_shows_every_federation_or_one(run: Run, coordinator: LiveCoordinator, tiny_model_dir: Path) -> None:
    assert "no federations yet" in run("status")[1]
    assert "no federations yet" in run("federations", "list")[1]
    plan = tiny_plan(tiny_model_dir, federation=FEDERATION)
    coordinator.create(plan, fresh_adapter(plan))
    coordinator.run(coordinator.store.agents.register(FEDERATION, new_agent("agent-1")))
    coordinator.run(submit(coordinator.store, FEDERATION))
    code, out, _ = run("status")
    assert code == 0
    assert out.splitlines()[1].split()[:4] == [FEDERATION, "0", "1", "0"]
    one = dict(line.split(maxsplit=1) for line in run("status", FEDERATION)[1].splitlines())
    assert (one["version"], one["queue"], one["merging"]) == ("0", "1", "yes")
    [parsed] = json.loads(run("status", FEDERATION, "--json")[1])
    assert (parsed["head"]["number"], parsed["queued"], parsed["agents"], parsed["paused"]) == (0, 1, 1, False)
    assert json.loads(run("federations", "list", "--json")[1]) == [FEDERATION]


def test_an_unknown_federation_fails_with_its_reason(run: Run) -> None:
    for command in ("status", "versions", "agents", "pause", "federations show", "dead-letters list"):
        code, _, err = run(*command.split(), "nobody")
        assert code == 1, command
        assert "FEDERATION_UNKNOWN" in err


def test_a_plan_is_shown_as_text_and_as_json(run: Run, plan: FederationPlan) -> None:
    out = run("federations", "show", FEDERATION)[1]
    assert "lora.rank" in out
    assert "parameters" in out
    shown = json.loads(run("federations", "show", FEDERATION, "--json")[1])["plan"]
    assert FederationPlan.from_dict(shown) == plan


def test_versions_are_listed_and_a_merge_record_is_shown(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    first = coordinator.run(publish(coordinator.store, FEDERATION))
    second = coordinator.run(publish(coordinator.store, FEDERATION, agent_id="agent-2"))
    numbers = [line.split()[0] for line in run("versions", FEDERATION)[1].splitlines()]
    assert numbers == ["version", "2", "1", "0"]
    assert [line.split()[0] for line in run("versions", FEDERATION, "--limit", "1")[1].splitlines()] == ["version", "2"]
    out = run("versions", FEDERATION, "2")[1]
    assert second.id.digest in out
    assert "agent-2" in out
    record = json.loads(run("versions", FEDERATION, "1", "--json")[1])
    assert first.merge is not None
    assert record["id"]["digest"] == first.id.digest
    assert [d["delta_id"] for d in record["merge"]["deltas"]] == [d.delta_id for d in first.merge.deltas]
    assert record["merge"]["calibration_loss_after"] == first.merge.calibration_loss_after
    assert record["serves_average"] is first.served_average
    code, _, err = run("versions", FEDERATION, "9")
    assert code == 1
    assert "VERSION_NOT_FOUND" in err


def test_agents_are_listed_with_their_share_and_can_be_revoked(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    coordinator.run(publish(coordinator.store, FEDERATION))
    assert run("agents", FEDERATION)[1] == run("agents", "list", FEDERATION)[1]
    lines = {line.split()[0]: line for line in run("agents", FEDERATION)[1].splitlines()}
    assert "1.0000" in lines["agent-1"]
    assert "0.0000" in lines["agent-2"]
    assert run("agents", "revoke", FEDERATION, "agent-2")[0] == 0
    parsed = {view["agent"]["agent_id"]: view for view in json.loads(run("agents", FEDERATION, "--json")[1])}
    assert parsed["agent-2"]["agent"]["revoked"] is True
    assert parsed["agent-1"]["contribution"]["merged"] == 1
    code, _, err = run("agents", "revoke", FEDERATION, "stranger")
    assert code == 1
    assert "AGENT_UNKNOWN" in err


def test_pause_resume_and_rollback(run: Run, coordinator: LiveCoordinator, plan: FederationPlan) -> None:
    coordinator.run(publish(coordinator.store, FEDERATION))
    assert run("pause", FEDERATION)[0] == 0
    assert "paused" in run("status", FEDERATION)[1]
    assert run("resume", FEDERATION)[0] == 0
    assert "paused" not in run("status", FEDERATION)[1]
    code, out, _ = run("rollback", FEDERATION, "0")
    assert code == 0
    assert "version 2, which holds the adapter of version 0" in out
    listed = run("versions", FEDERATION)[1]
    assert "abandoned" in listed
    assert "rollback" in listed
    assert run("rollback", FEDERATION, "77")[0] == 1


def test_dead_letters_are_listed_requeued_and_dropped(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    assert "no dead letters" in run("dead-letters", "list", FEDERATION)[1]
    first = bury(coordinator)
    assert "it hurts" in run("dead-letters", "list", FEDERATION)[1]
    assert run("dead-letters", "requeue", FEDERATION, first)[0] == 0
    assert coordinator.queued(FEDERATION) == 1
    assert run("dead-letters", "requeue", FEDERATION, first)[0] == 1
    coordinator.claim(FEDERATION)
    second = bury(coordinator)
    [letter] = json.loads(run("dead-letters", "list", FEDERATION, "--json")[1])
    assert letter["delta_id"] == second
    assert run("dead-letters", "drop", FEDERATION, second)[0] == 0
    receipt = coordinator.receipt(FEDERATION, second)
    assert receipt is not None
    assert (receipt.state, receipt.reason) == (DeltaState.REJECTED, "DROPPED_BY_OPERATOR")


def test_an_exported_adapter_is_loaded_by_peft_and_generates(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan, tiny_model_dir: Path, tmp_path: Path
) -> None:
    adapter = {name: tensor + 0.05 for name, tensor in fresh_adapter(plan).items()}
    coordinator.publish(plan, adapter)
    target = tmp_path / "adapter"
    code, out, _ = run("export", FEDERATION, str(target))
    assert code == 0
    assert "version 1" in out
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    model = PeftModel.from_pretrained(base, target)
    loaded = {name.replace(".default.", "."): tensor for name, tensor in model.state_dict().items() if "lora_" in name}
    assert all(torch.equal(loaded[name], adapter[name]) for name in adapter)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokens = model.generate(**tokenizer("hello", return_tensors="pt"), max_new_tokens=5, do_sample=False)
    assert tokens.shape[1] > tokenizer("hello", return_tensors="pt")["input_ids"].shape[1]


def test_an_export_never_mixes_with_other_files(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan, tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("mine", "utf-8")
    code, _, err = run("export", FEDERATION, str(tmp_path))
    assert code == 2
    assert "--force" in err
    assert run("export", FEDERATION, str(tmp_path), "--force", "--version", "0", "--kind", "training")[0] == 0
    assert (tmp_path / "notes.txt").read_text("utf-8") == "mine"
    code, _, err = run("export", FEDERATION, str(tmp_path / "other"), "--version", "5")
    assert code == 1
    assert not (tmp_path / "other").exists()


def test_an_adapter_longer_than_a_chunk_arrives_whole(
    client: OperatorClient, coordinator: LiveCoordinator, plan: FederationPlan
) -> None:
    adapter = fresh_adapter(plan, seed=7)
    identity = coordinator.publish(plan, adapter)
    for kind in AdapterKind:
        version, payload = client.adapter(FEDERATION, kind=kind)
        assert version == identity
        assert len(payload) > 4 * plan.limits.chunk_bytes
        received = decode(payload, plan.tensors, Encoding.FP32)
        assert all(torch.equal(received[name], adapter[name]) for name in adapter)


def test_the_services_errors_arrive_as_they_were_raised(client: OperatorClient, plan: FederationPlan) -> None:
    with pytest.raises(UnknownFederation):
        client.federation("nobody")
    with pytest.raises(VersionNotFound):
        client.adapter(FEDERATION, 5)
    with pytest.raises(ManifestMismatch):
        size = len(client.adapter(FEDERATION)[1])
        other = tiny_plan(Path(plan.base_model.name), federation="other")
        client.create_federation(other, bytes(size), b"")


def test_the_agents_address_is_told_apart_from_the_operators(coordinator: LiveCoordinator) -> None:
    with OperatorClient(coordinator.address) as client, pytest.raises(RequestInvalid, match="--operator"):
        client.federations()


def test_a_coordinator_that_hangs_is_given_up() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        with OperatorClient(address, call_seconds=0.3) as client, pytest.raises(CoordinatorUnreachable, match=address):
            client.federations()
