"""Real servers for tests, each ended by the process id that started it: Debian's Redis, a Cluster of it, a Sentinel.

The embedded Valkey needs nothing from here: `coordinator.backends.embedded.EmbeddedValkey` is a server for tests too.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

START_SECONDS = 10.0


def redis_binary() -> str:
    """Return the path of `redis-server`; skips the test where there is none."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server on PATH: install Debian's redis-server package to run this test")
    return found


def memory_folder() -> Path | None:
    """Return a folder in memory; None where there is none."""
    return found if (found := Path("/dev/shm")).is_dir() else None


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running_redis(
    settings: Mapping[str, str] | None = None, *, port: int = 0, sentinel_config: str = ""
) -> Iterator[RedisProcess]:
    """Run a redis-server on a Unix socket (and on `port` unless 0) in a folder of its own until the block ends."""
    # Short, because a socket path may have 107 bytes at most and pytest's folders are deep.
    with tempfile.TemporaryDirectory(prefix="alignfed-test-") as folder:
        process = RedisProcess(Path(folder), settings or {}, port=port, sentinel_config=sentinel_config)
        try:
            process.wait_until_ready()
            yield process
        finally:
            process.end()


class RedisProcess:
    """One redis-server process. `url` is its store URL, `port` its TCP port or 0."""

    def __init__(self, folder: Path, settings: Mapping[str, str], *, port: int, sentinel_config: str) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.port = port
        self._log = folder / "redis.log"
        config = folder / "redis.conf"
        config.write_text(sentinel_config)
        all_settings = {
            "port": str(port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(folder),
            "logfile": str(self._log),
            "save": "",
            **settings,
        }
        words = [word for name, value in all_settings.items() for word in (f"--{name}", *value.split(" "))]
        mode = ["--sentinel"] if sentinel_config else []
        self._command = [redis_binary(), str(config), *words, *mode]
        self.start()

    def start(self) -> None:
        """Start the server, or start it again with the data it had."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def wait_until_ready(self) -> None:
        """Block until the server answers."""
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            running = self._process.poll() is None
            if not running or time.monotonic() > deadline:
                log = self._log.read_text() if self._log.exists() else "(no log)"
                raise AssertionError(f"redis-server did not start; its log:\n{log}")
            time.sleep(0.01)

    def command(self, *words: str) -> str:
        """Send one command over the Unix socket and return the start of its raw reply."""
        arguments = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(self.socket))
            connection.sendall(f"*{len(words)}\r\n{arguments}".encode())
            return connection.recv(65536).decode()

    def kill(self) -> None:
        """End the server as a crash would."""
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server in its tracks, connections open, as a paused machine would, until the block ends."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """End the server, if it still runs, and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()

    def _answers(self) -> bool:
        try:
            return self.command("PING").startswith(("+PONG", "-NOAUTH"))
        except OSError:
            return False


@contextlib.contextmanager
def running_cluster(nodes: int = 3) -> Iterator[str]:
    """Run a Cluster of primaries on loopback and yield its store URL."""
    with contextlib.ExitStack() as stack:
        ports = [free_port() for _ in range(nodes)]
        servers = []
        for index, port in enumerate(ports):
            settings = {
                "cluster-enabled": "yes",
                "cluster-port": str(free_port()),
                "cluster-config-file": "nodes.conf",
                "cluster-node-timeout": "2000",
                "appendonly": "yes",
                "appendfsync": "no",
            }
            server = stack.enter_context(running_redis(settings, port=port))
            first, last = index * 16384 // nodes, (index + 1) * 16384 // nodes - 1
            assert server.command("CLUSTER", "ADDSLOTSRANGE", str(first), str(last)).startswith("+OK")
            assert server.command("CLUSTER", "SET-CONFIG-EPOCH", str(index + 1)).startswith("+OK")
            servers.append((server, settings["cluster-port"]))
        for server, bus_port in servers[1:]:
            greeting = servers[0][0].command("CLUSTER", "MEET", "127.0.0.1", str(server.port), bus_port)
            assert greeting.startswith("+OK"), greeting
        deadline = time.monotonic() + START_SECONDS
        while not all(_cluster_is_whole(server, nodes) for server, _ in servers):
            assert time.monotonic() < deadline, "the Cluster's nodes did not find each other"
            time.sleep(0.02)
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)


def _cluster_is_whole(server: RedisProcess, nodes: int) -> bool:
    info = server.command("CLUSTER", "INFO")
    return "cluster_state:ok" in info and f"cluster_known_nodes:{nodes}" in info


@contextlib.contextmanager
def running_sentinel() -> Iterator[str]:
    """Run one primary and one Sentinel that watches it, and yield the store URL."""
    with running_redis({"appendonly": "yes"}, port=free_port()) as primary:
        watch = f"sentinel monitor mymaster 127.0.0.1 {primary.port} 1\n"
        with running_redis(port=free_port(), sentinel_config=watch) as sentinel:
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster"
