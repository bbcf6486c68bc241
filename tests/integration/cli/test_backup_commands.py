"""`alignfed backup`, `alignfed restore` and `alignfed versions --tree`, as typed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from coordinator.cli.main import main
from coordinator.ports import Store
from tests.support.histories import busy_federation
from tests.support.live_coordinator import LiveCoordinator
from tests.support.stores import NOW, publish, seed_federation

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
def store_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        monkeypatch.setenv("ALIGNFED_STORE_URL", server.url)
        yield server.url


def in_store(url: str, work: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
    async def go() -> Any:
        store = open_store(url)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(go())


def test_backup_verify_and_restore(run: Run, store_url: str, tmp_path: Path) -> None:
    name = in_store(store_url, busy_federation)
    in_store(store_url, seed_federation)
    code, out, err = run("backup", "--all", "all.backup")
    assert code == 0, err
    assert f"{name} at version 3: 2 queued deltas, 1 dead letters, 3 agents, 6 receipts" in out
    assert "wrote all.backup" in out

    assert run("backup", "--verify", "all.backup")[0] == 0
    assert "every payload is whole" in run("backup", "--verify", "all.backup")[1]

    code, _, err = run("restore", "all.backup")
    assert code == 1
    assert "FEDERATION_EXISTS" in err

    with EmbeddedValkey(tmp_path / "other") as other:
        code, out, err = run("restore", "all.backup", "--only", name, "--store-url", other.url)
        assert code == 0, err
        assert out.startswith(f"restored {name} at version 3, paused; tokens go on from ")
        code, _, err = run("restore", "all.backup", "--store-url", other.url)
        assert (code, "FEDERATION_EXISTS" in err) == (1, True)


def test_a_backup_is_replaced_only_on_request(run: Run, store_url: str, tmp_path: Path) -> None:
    federation = in_store(store_url, seed_federation).federation
    (tmp_path / "kept").write_text("precious")
    code, _, err = run("backup", federation, "kept")
    assert (code, "--force" in err) == (2, True)
    assert (tmp_path / "kept").read_text() == "precious"
    assert run("backup", federation, "kept", "--force")[0] == 0
    assert run("backup", "--verify", "kept")[0] == 0


def test_wrong_usage_says_what_to_write(run: Run, store_url: str) -> None:
    assert run("backup")[0] == 2
    for arguments in (("file",), ("--all", "name", "file"), ("--verify", "name", "file")):
        code, _, err = run("backup", *arguments)
        assert code == 2, arguments
        assert "FILE" in err
    assert "FEDERATION_UNKNOWN" in run("backup", "nobody", "file")[2]
    assert run("restore", "no-such-file")[0] == 2
    code, _, err = run("backup", "nobody", "no-such-folder/file")
    assert (code, "cannot be written" in err) == (2, True)


def test_a_file_that_is_no_backup_is_refused(run: Run, store_url: str, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a backup")
    for arguments in (("backup", "--verify", "notes"), ("restore", "notes")):
        code, _, err = run(*arguments)
        assert code == 1
        assert "BACKUP_FOREIGN" in err


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A coordinator with a federation that was rolled back from version 2 to 0 and went on."""
    with LiveCoordinator() as live:
        live.start()
        monkeypatch.setenv("ALIGNFED_OPERATOR", live.operator_address)

        async def fill() -> str:
            name = (await seed_federation(live.store)).federation
            for _ in range(2):
                await publish(live.store, name)
            await live.store.versions.roll_back(name, 0, at=NOW)
            for _ in range(230):  # more than a page
                await publish(live.store, name)
            return name

        yield live.run(fill())


def test_the_tree_shows_what_was_abandoned(run: Run, operator: str) -> None:
    code, out, _ = run("versions", operator, "--tree")
    assert code == 0
    lines = out.splitlines()
    assert lines[3].startswith("⋮ 224 merges, 224 deltas")
    assert [line[:5].strip() for line in lines[6:12]] == ["● 4", "● 3", "│ ○ 2", "│ ○ 1", "├─╯", "● 0"]
    assert "rollback to 0" in lines[7]
    assert max(map(len, lines)) <= 80
    assert len(run("versions", operator, "--tree", "--all")[1].splitlines()) == 234 + 1 + 2
    assert len(run("versions", operator, "--tree", "--limit", "210", "--all")[1].splitlines()) == 210 + 1 + 2


def test_json_has_every_version_with_its_parent(run: Run, operator: str) -> None:
    versions = json.loads(run("versions", operator, "--tree", "--json")[1])
    assert [version["id"]["number"] for version in versions] == list(range(233, -1, -1))
    parents = {version["id"]["number"]: version["parent"] for version in versions}
    assert [parents[number] for number in (4, 3, 2, 1, 0)] == [3, 0, 1, 0, None]
    assert [version["id"]["number"] for version in versions if version["abandoned"]] == [2, 1]
    assert len(json.loads(run("versions", operator, "--json")[1])) == 50
