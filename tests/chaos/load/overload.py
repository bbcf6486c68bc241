"""A coordinator process under load: its figures, and light processes that follow orders."""

from __future__ import annotations

import contextlib
import math
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.processes import running
from tests.support.servers import free_port
from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[3]
MIB = 1 << 20
ANSWER_SECONDS = 120.0


class OverloadedCoordinator:
    """A running coordinator process, seen from outside."""

    def __init__(self, *, pid: int, port: int, metrics_port: int) -> None:
        self.pid = pid
        self.port = port
        self._metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples that have these labels; 0 when there are none."""
        with urllib.request.urlopen(self._metrics_url, timeout=30) as response:
            text = response.read().decode()
        samples = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(value) for found, value in samples if all(label in found for label in wanted))

    def resident_bytes(self) -> int:
        """Return the memory that the process has now."""
        return self._status_kib("VmRSS") * 1024

    def peak_bytes(self) -> int:
        """Return the most memory it ever had since `forget_peak`."""
        return self._status_kib("VmHWM") * 1024

    def forget_peak(self) -> None:
        """Begin to measure the peak anew."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def open_files(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def _status_kib(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(rf"{name}:\s+(\d+) kB", status)[1])  # type: ignore[index]


@contextmanager
def coordinator_running(
    folder: Path, store_url: str, *options: str, name: str = "coordinator"
) -> Iterator[OverloadedCoordinator]:
    """Run `alignfed coordinator` over a store until the block ends."""
    port, operator_port, metrics_port = free_port(), free_port(), free_port()
    command = [
        *("alignfed", "coordinator", "--store-url", store_url, "--log-level", "warning"),
        *("--agent-listen", f"127.0.0.1:{port}", "--operator-listen", f"127.0.0.1:{operator_port}"),
        *("--metrics-listen", f"127.0.0.1:{metrics_port}", "--drain-seconds", "0", *options),
    ]
    with running(command, folder, name=name) as process:
        wait_until(lambda: _answers(metrics_port), what="the coordinator is ready", timeout_seconds=ANSWER_SECONDS)
        yield OverloadedCoordinator(pid=process.process.pid, port=port, metrics_port=metrics_port)


def _answers(metrics_port: int) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/readyz", timeout=5):
        return True
    return False


class Helper:
    """A process of a module of ours that answers each order, a line, with a line."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def begin(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """Return the next answer."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, "the helper process has ended"
        return line

    def order(self, order: str) -> str:
        """Give an order and return its answer."""
        self.begin(order)
        return self.answer()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def helper(module: str) -> Iterator[Helper]:
    """Run a helper process until the block ends."""
    started = Helper(module)
    try:
        yield started
    finally:
        started.end()


def end_with_all_that_was_started() -> None:
    """Make SIGTERM leave through every `finally`, so that a command that is told to stop leaves no process behind."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(128 + signal.SIGTERM))


def percentile(seconds: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(seconds)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]
