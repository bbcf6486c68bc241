"""A Docker engine for tests: the one that answers, or one of our own that leaves nothing behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.waiting import wait_until

START_SECONDS = 60.0
STOP_SECONDS = 120.0
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class EngineUnavailable(Exception):
    """No Docker engine answers, and none can be started; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A reachable engine. `own` is one that the test has started; `note` says how."""

    host: str
    own: bool
    note: str

    @property
    def environment(self) -> dict[str, str]:
        """What a command needs to reach it."""
        return {**os.environ, **({"DOCKER_HOST": self.host} if self.host else {})}

    def run(self, *arguments: str, check: bool = True, seconds: float = 120.0) -> str:
        """Run a `docker` command and return what it prints; fail with its errors."""
        done = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def inspect(self, *names: str) -> list[dict[str, Any]]:
        """Return what the engine knows of containers."""
        return list(json.loads(self.run("inspect", *names)))

    def has_image(self, image: str) -> bool:
        """Whether an image is there."""
        return bool(self.run("images", "--quiet", image).strip())

    def pull(self, image: str, *, seconds: float = 600.0) -> bool:
        """Return whether an image is there or can be had from its registry."""
        if self.has_image(image):
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("pull", "--quiet", image, check=False, seconds=seconds)
        return self.has_image(image)


@contextlib.contextmanager
def docker_engine() -> Iterator[Engine]:
    """Yield an engine.

    Raises:
        EngineUnavailable: There is none.
    """
    if shutil.which("docker") is None:
        raise EngineUnavailable("docker is not installed (on Debian: apt-get install docker.io docker-compose)")
    if _answers(""):
        yield Engine(host="", own=False, note="the engine that runs on this machine")
        return
    if os.geteuid() != 0:
        raise EngineUnavailable("no Docker engine answers, and only root can start one")
    program = shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:{_SBIN}")
    if program is None:
        raise EngineUnavailable("no Docker engine answers, and dockerd is not installed")
    with _own_engine(program) as engine:
        yield engine


@contextlib.contextmanager
def _own_engine(program: str) -> Iterator[Engine]:
    """Run dockerd in a folder of its own with the first options that work here; all of it is gone afterwards."""
    bridge_was_there, rules = Path("/sys/class/net/docker0").exists(), _firewall()
    folder = Path(tempfile.mkdtemp(prefix="alignfed-docker-", dir="/var/tmp"))  # a disk: overlays need one
    process = None
    try:
        failures = []
        for options in (["overlay2"], ["fuse-overlayfs"], ["vfs"], ["overlay2", "--iptables=false"]):
            process = _start(program, folder, options)
            host = f"unix://{folder}/docker.sock"
            if _answers_soon(host, process):
                yield Engine(host=host, own=True, note=f"our own dockerd, storage driver {' '.join(options)}")
                return
            failures.append(f"{' '.join(options)}: {_last_lines(folder / 'dockerd.log')}")
            _stop(process)
        raise EngineUnavailable("dockerd does not start: " + "; ".join(failures))
    finally:
        if process is not None:
            _stop(process)
        _remove(folder)
        if not bridge_was_there:
            subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)
        if rules is not None:  # dockerd leaves its chains, and a policy that forwards nothing
            subprocess.run(["iptables-restore"], input=rules, capture_output=True, check=False, env=_with_sbin())


def _start(program: str, folder: Path, options: list[str]) -> subprocess.Popen[bytes]:
    command = [
        program, "--host", f"unix://{folder}/docker.sock", "--data-root", str(folder / "data"),
        "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "docker.pid"), "--storage-driver", *options,
    ]  # fmt: skip
    with (folder / "dockerd.log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,
            env=_with_sbin(),
        )


def _with_sbin() -> dict[str, str]:
    return {**os.environ, "PATH": f"{os.environ.get('PATH', '')}:{_SBIN}"}


def _firewall() -> bytes | None:
    """Return this machine's packet filter, both of its tables that dockerd changes; None where there is none."""
    rules = b""
    for table, chains in (("filter", "INPUT FORWARD OUTPUT"), ("nat", "PREROUTING INPUT OUTPUT POSTROUTING")):
        try:
            done = subprocess.run(["iptables-save", "-t", table], capture_output=True, check=True, env=_with_sbin())
        except (OSError, subprocess.CalledProcessError):
            return None
        empty = "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains.split())
        rules += done.stdout or f"*{table}\n{empty}COMMIT\n".encode()
    return rules


def _answers(host: str) -> bool:
    environment = {**os.environ, **({"DOCKER_HOST": host} if host else {})}
    try:
        done = subprocess.run(
            ["docker", "version"],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _answers_soon(host: str, process: subprocess.Popen[bytes]) -> bool:
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(host), what="dockerd answers", timeout_seconds=START_SECONDS
        )
    except AssertionError:
        return False
    return process.poll() is None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End dockerd, which ends its containers and its containerd."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _remove(folder: Path) -> None:
    """Unmount what a killed engine has left mounted, deepest first, and delete the folder."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    for mount in sorted((one for one in mounts if one.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _last_lines(log: Path) -> str:
    return " / ".join(log.read_text("utf-8", "replace").splitlines()[-2:])
