"""`alignfed keys new`, and what commands show and check of signed versions, on a coordinator that signs."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alignfed.codec import encode
from alignfed.errors import RequestInvalid
from alignfed.plan import Encoding, FederationPlan
from alignfed.version_keys import load_signing_key, load_version_keys
from alignfed.version_manifest import check_follows
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.memory import MemoryStore
from coordinator.backends.urls import open_store
from coordinator.cli.main import main
from coordinator.cli.operator_client import OperatorClient
from coordinator.signing import Signer
from coordinator.worker.aggregator import Aggregator
from tests.support.factors import create_federation, merging_plan, send_delta
from tests.support.live_coordinator import LiveCoordinator
from tests.support.signing import KeyPair
from tests.support.stores import NOW, open_memory_store, publish, seed_federation
from tests.support.tiny_federation import fresh_adapter, tiny_plan
from tests.support.workers import merge_queue, worker_context

FEDERATION = "tiny-fed"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run `alignfed` in an empty folder; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run_once(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run_once


@pytest.fixture
def coordinator(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveCoordinator]:
    """A coordinator with a key that `alignfed keys new` made; its public half is in `keys.pem`."""
    code, public, _ = run("keys", "new", "key.pem")
    assert code == 0
    (tmp_path / "keys.pem").write_text(public)
    with LiveCoordinator() as live:
        live.start(signing_key_file=str(tmp_path / "key.pem"))
        live.signer = Signer(load_signing_key(tmp_path / "key.pem"))
        monkeypatch.setenv("ALIGNFED_OPERATOR", live.operator_address)
        yield live


@pytest.fixture
def plan(coordinator: LiveCoordinator, tiny_model_dir: Path) -> FederationPlan:
    plan = tiny_plan(tiny_model_dir, federation=FEDERATION)
    with OperatorClient(coordinator.operator_address) as client:
        client.create_federation(plan, bytes(encode(fresh_adapter(plan), Encoding.FP32)), b"{}\n")
    return plan


def test_a_new_key_is_private_and_never_overwritten(run: Run, tmp_path: Path) -> None:
    code, public, err = run("keys", "new", "key.pem")
    assert code == 0
    (tmp_path / "keys.pem").write_text(public)
    [fingerprint] = load_version_keys(tmp_path / "keys.pem").fingerprints
    assert fingerprint in err
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600
    assert "PRIVATE" not in public + err
    assert run("keys", "new", "key.pem")[0] == 2


def test_versions_show_who_signed_them(run: Run, coordinator: LiveCoordinator, plan: FederationPlan) -> None:
    fingerprint = coordinator.signer.fingerprint
    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    assert run("rollback", FEDERATION, "0")[0] == 0
    for number in ("0", "1", "2"):
        code, out, err = run("versions", FEDERATION, number)
        assert code == 0, err
        assert fingerprint in out, number
    shown = json.loads(run("versions", FEDERATION, "2", "--json")[1])
    assert json.loads(shown["signed"]["manifest"])["kind"] == "rollback"
    coordinator.signer = Signer()
    coordinator.publish(plan, fresh_adapter(plan, seed=2))
    assert "nobody" in run("versions", FEDERATION, "3")[1]


@pytest.mark.parametrize("kind", ["served", "training"])
def test_an_export_is_verified_on_request(
    run: Run, coordinator: LiveCoordinator, plan: FederationPlan, tmp_path: Path, kind: str
) -> None:
    def export(folder: str, keys: str) -> tuple[int, str, str]:
        return run("export", FEDERATION, folder, "--kind", kind, "--version-key", keys)

    coordinator.publish(plan, fresh_adapter(plan, seed=1))
    assert export("first", "keys.pem")[0] == 0
    KeyPair().write_public(tmp_path / "others.pem")
    code, _, err = export("second", "others.pem")
    assert (code, "SIGNATURE_INVALID" in err) == (1, True)

    store = coordinator.store
    assert isinstance(store, MemoryStore)
    [initial, genuine] = store._state.federation(FEDERATION).versions
    coordinator.stop()
    for forged, reason in (
        (dataclasses.replace(genuine, signed=None), "VERSION_UNSIGNED"),
        (dataclasses.replace(genuine, signed=initial.signed), "MANIFEST_FOREIGN"),
        (dataclasses.replace(genuine, adapter=initial.adapter), "MANIFEST_FOREIGN"),  # under the genuine identity
    ):
        store._state.federation(FEDERATION).versions[1] = forged
        coordinator.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ALIGNFED_OPERATOR", coordinator.operator_address)
            code, _, err = export("second", "keys.pem")
        coordinator.stop()
        assert (code, reason in err) == (1, True), err
    assert not (tmp_path / "second").exists()


def test_a_coordinator_whose_key_is_readable_by_all_does_not_start(tmp_path: Path, run: Run) -> None:
    run("keys", "new", "key.pem")
    (tmp_path / "key.pem").chmod(0o644)
    with LiveCoordinator() as live, pytest.raises(RequestInvalid, match="chmod"):
        live.start(signing_key_file=str(tmp_path / "key.pem"))


async def test_what_a_worker_merges_is_signed_and_follows() -> None:
    pair, store, plan = KeyPair(), open_memory_store(), merging_plan()
    await create_federation(store, plan, "agent-1")
    context = dataclasses.replace(worker_context(store), signer=Signer(pair.signing))

    aggregator = Aggregator(context, plan, None)
    manifests = []
    for value in (1.0, 2.0, 3.0):
        await send_delta(store, plan, value, agent_id="agent-1")
        version = await merge_queue(store, plan, aggregator)
        manifests.append(pair.accepted.verify(version.signed))
        assert dataclasses.astuple(manifests[-1].version) == dataclasses.astuple(version.id)
        assert manifests[-1].federation == plan.federation
    check_follows(manifests[1], manifests[0])
    check_follows(manifests[2], manifests[1])
    assert manifests[2].parent_manifest == manifests[1].digest


def test_a_signed_restore_has_one_version_on_top(run: Run, tmp_path: Path) -> None:
    run("keys", "new", "key.pem")
    fingerprint = load_signing_key(tmp_path / "key.pem").fingerprint

    async def fill(url: str) -> str:
        store = open_store(url)
        try:
            name = (await seed_federation(store)).federation
            await publish(store, name)
            return name
        finally:
            await store.close()

    async def head_of(url: str, name: str) -> tuple[int, int, int, str]:
        store = open_store(url)
        try:
            head = await store.versions.head(name)
            record = await store.versions.get(name, head.id.number)
            await store.versions.roll_back(name, 0, at=NOW)  # goes on: its payloads are there
            token = await store.leases.acquire(name, "worker-1", ttl_seconds=9)
            assert token is not None
            return head.id.number, head.id.epoch, token, record.signed.key_fingerprint if record.signed else ""
        finally:
            await store.close()

    with EmbeddedValkey(tmp_path / "one") as one:
        name = asyncio.run(fill(one.url))
        assert run("backup", name, "one.backup", "--store-url", one.url)[0] == 0
    with EmbeddedValkey(tmp_path / "two") as two:
        code, out, err = run("restore", "one.backup", "--store-url", two.url, "--signing-key-file", "key.pem")
        assert (code, "at version 2" in out) == (0, True), err
        number, epoch, token, signed_by = asyncio.run(head_of(two.url, name))
    assert (number, signed_by) == (2, fingerprint)
    assert epoch < token
