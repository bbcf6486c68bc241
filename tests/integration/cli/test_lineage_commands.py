"""A federation's history from the command line, over a real store: told, derived again, undone, saved, brought back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from alignfed.plan import Retention
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.cli.main import main
from coordinator.domain import DeltaState
from coordinator.ports import Store
from tests.support.factors import create_federation, filled, merging_plan
from tests.support.live_coordinator import LiveCoordinator
from tests.support.stores import NOW, receipt_of, submit, take_lease
from tests.support.uploads import upload
from tests.support.workers import merge_queue, new_aggregator

Run = Callable[..., str]


@pytest.fixture
def store_url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server.url


@pytest.fixture
def live(store_url: str) -> Iterator[LiveCoordinator]:
    """A coordinator over the real store."""
    with LiveCoordinator() as coordinator:
        coordinator.store = open_store(store_url)
        coordinator.start()
        yield coordinator
        coordinator.stop()
        coordinator.run(coordinator.store.close())


@pytest.fixture
def run(
    live: LiveCoordinator, store_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run `alignfed` and return what it prints; it must end with the wanted exit code."""
    monkeypatch.setenv("ALIGNFED_OPERATOR", live.operator_address)
    monkeypatch.setenv("ALIGNFED_STORE_URL", store_url)

    def run_once(command: str, *, code: int = 0) -> str:
        with pytest.raises(SystemExit) as ended:
            main(command.split())
        output = capsys.readouterr()
        assert int(ended.value.code or 0) == code, output.err
        return output.out if code == 0 else output.err

    return run_once


async def three_versions(store: Store) -> str:
    """Merge two deltas into version 1 and one more into version 2, and give one more up."""
    plan = dataclasses.replace(merging_plan(), retention=Retention(delta_versions=8))  # to replay them
    await create_federation(store, plan, "agent-1", "agent-2", start=filled(0.5))
    aggregator = new_aggregator(store, plan)
    await upload(store, plan, 1, 2)
    await merge_queue(store, plan, aggregator)
    await upload(store, plan, 3)
    await merge_queue(store, plan, aggregator)
    token = await take_lease(store, plan.federation)
    for _ in range(2):
        await submit(store, plan.federation)
    for queued in await store.deltas.claim(plan.federation, "worker-1", limit=2):
        await store.deltas.bury(plan.federation, token, queued, detail="it hurts", at=NOW)
    return plan.federation


def test_history_is_told_derived_again_undone_saved_and_brought_back(
    run: Run, live: LiveCoordinator, tmp_path: Path
) -> None:
    name = live.run(three_versions(live.store))
    assert run(f"replay {name} 2") == ("version 2 is, bit for bit, what its record makes of version 1 and 1 deltas\n")
    assert "and 2 deltas" in run(f"replay {name} 1")
    assert "version 9" in run(f"replay {name} 9", code=1)

    assert "paused at version 2" in run(f"pause {name}")
    assert "paused" in run(f"status {name}")
    assert "merges again from version 2" in run(f"resume {name}")

    assert run(f"rollback {name} 1") == f"{name} is at version 3, which holds the adapter of version 1\n"
    tree = run(f"versions {name} --tree")
    assert re.search(r"3 +rollback to 1.*\n.*2 +merge.*1 delta .*\n.*\n.*1 +merge.*2 deltas", tree)
    assert "abandoned by a rollback" in tree
    assert "not the result of a merge" in run(f"replay {name} 3", code=2)
    assert "and 1 deltas" in run(f"replay {name} 2")  # abandoned, and still what it was

    first, second = live.run(live.store.deltas.dead_letters(name))
    listed = run(f"dead-letters list {name}")
    assert first.delta.delta_id in listed
    assert "it hurts" in listed
    assert "queued again" in run(f"dead-letters requeue {name} {first.delta.delta_id}")
    assert "is dropped" in run(f"dead-letters drop {name} {second.delta.delta_id}")
    assert "DEAD_LETTER_NOT_FOUND" in run(f"dead-letters drop {name} {second.delta.delta_id}", code=1)
    assert live.run(receipt_of(live.store, second.delta)).reason == "DROPPED_BY_OPERATOR"
    assert live.run(receipt_of(live.store, first.delta)).state is DeltaState.QUEUED

    file = tmp_path / "all.backup"
    assert str(file) in run(f"backup {name} {file}")
    with EmbeddedValkey(tmp_path / "elsewhere") as other:
        assert name in run(f"restore {file} --store-url {other.url}")
        replayed = run(f"replay {name} 2 --store-url {other.url}")
    assert "bit for bit" in replayed
