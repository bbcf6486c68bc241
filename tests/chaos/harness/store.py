"""A store that can be killed and started again on the same data folder and the same address."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from coordinator.backends import embedded
from tests.support.servers import redis_binary

START_SECONDS = 60.0
"""Loading an append-only file of 100,000 deltas takes some seconds."""


class KillableStore:
    """Valkey (the embedded one's binary) or Debian's Redis, `appendfsync always`; dies with this process.

    Args:
        folder: Data; created. Its log is in it.
        software: `valkey` or `redis`.
    """

    def __init__(self, folder: Path, *, software: str = "valkey") -> None:
        self._folder = folder.absolute()
        self._binary = str(embedded._binary()) if software == "valkey" else redis_binary()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The store URL, the same after every start."""
        return f"unix://{self._socket}"

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sockets = tempfile.TemporaryDirectory(prefix="alignfed-chaos-")  # a socket's path must be short
        self._socket = Path(self._sockets.name) / "store.sock"
        try:
            self.start()
        except BaseException:
            self._sockets.cleanup()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._sockets.cleanup()

    def start(self) -> None:
        """Start it with the data it had, and wait until it answers. Call it from the main thread."""
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "dir": str(self._folder),
            "logfile": str(self._folder / "store.log"),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        launch = [sys.executable, "-I", "-S", "-c", embedded._LAUNCHER, str(os.getpid())]
        self._process = subprocess.Popen(
            [*launch, self._binary, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not embedded._answers(self._socket):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the store did not start: {(self._folder / 'store.log').read_text()[-2000:]}")
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def copy_data(self, target: Path) -> None:
        """Copy the data folder, for whoever wants to look at it later."""
        shutil.copytree(self._folder, target)
