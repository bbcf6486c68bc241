"""Runs fuzz targets: so many inputs from a seed, each one timed, memory watched, failing inputs kept for replay."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import random
import signal
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.fuzz.target import Target, outcome_of

CORPUS = Path(__file__).parent / "corpus"
MEMORY_BYTES = 64 << 20
"""How far a target's run may raise the process's peak of resident memory: reads of kilobytes leave next to nothing."""
HANG_SECONDS = 10.0
"""Processor time after which an input counts as a hang and is interrupted."""
_MOST_FAILURES = 20
_MOST_INPUT_BYTES = 64 * 1024
_MOST_SPOILED_BYTES = 8 * 1024  # longer ones are read once: mutations of them would take most of the time
_POOL = 256


class Hang(Exception):
    """An input was not read within `HANG_SECONDS`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An input that broke a promise, and where."""

    target: str
    what: str
    data: bytes

    def save(self, folder: Path) -> Path:
        """Keep the input for replay and return its file."""
        path = folder / self.target / f"failure-{hashlib.sha256(self.data).hexdigest()[:12]}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.data)
        return path


@dataclasses.dataclass(slots=True, kw_only=True)
class Run:
    """What came out of fuzzing one target; seconds are of processor time but `seconds`."""

    target: str
    seed: int
    inputs: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    busy_seconds: float = 0.0
    slowest_seconds: float = 0.0
    slowest_input: str = ""
    grown_bytes: int = 0

    def line(self) -> str:
        """Return the run as one line for people."""
        rate = self.inputs / self.busy_seconds if self.busy_seconds else 0.0
        return (
            f"{self.target:12} {self.inputs:8} inputs {self.seconds:7.1f} s {rate:8.0f}/s of processor time  "
            f"{len(self.outcomes):3} outcomes  slowest {self.slowest_seconds * 1000:6.1f} ms ({self.slowest_input})  "
            f"memory +{self.grown_bytes / 2**20:.1f} MiB  {len(self.failures)} failures"
        )


def fuzz(target: Target, *, inputs: int, seed: int) -> Run:
    """Read the corpus, the target's seeds, and then mutations of them until `inputs` inputs were read.

    An input that ends in a way not seen before joins the seeds, so that later inputs start from it.
    """
    rng = random.Random(f"{target.name}:{seed}")
    run = Run(target=target.name, seed=seed)
    pool = [*corpus_of(target.name).values(), *target.seeds()]
    began, busy = time.perf_counter(), time.process_time()
    for data in pool[:inputs]:
        _read(target, data, run)
    pool = [data for data in pool if len(data) <= _MOST_SPOILED_BYTES]
    before = reset_peak_bytes()
    while run.inputs < inputs and len(run.failures) < _MOST_FAILURES:
        data = target.mutate(rng.choice(pool), rng)
        if rng.random() < 0.15:
            data = target.mutate(data, rng)
        data = data[:_MOST_INPUT_BYTES]
        known = len(run.outcomes)
        _read(target, data, run)
        if len(run.outcomes) > known and len(pool) < _POOL and len(data) <= _MOST_SPOILED_BYTES:
            pool.append(data)
    run.seconds, run.busy_seconds = time.perf_counter() - began, time.process_time() - busy
    run.grown_bytes = max(0, peak_bytes() - before)
    if run.grown_bytes > MEMORY_BYTES:
        run.failures.append(Failure(target=target.name, what=f"memory grew by {run.grown_bytes} bytes", data=b""))
    return run


def replay(target: Target, data: bytes) -> str:
    """Read one input under the same bounds and return how it ended.

    Raises:
        AssertionError: It broke a promise; the message says which.
    """
    run = Run(target=target.name, seed=0)
    _read(target, data, run)
    assert not run.failures, run.failures[0].what
    return next(iter(run.outcomes))


def corpus_of(name: str) -> dict[str, bytes]:
    """Return the kept inputs of a target by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).glob("*"))}


def _read(target: Target, data: bytes, run: Run) -> None:
    began = time.process_time()
    what = ""
    try:
        with _hang_after(HANG_SECONDS):
            run.outcomes[outcome_of(target, data)] += 1
    except Exception as error:  # noqa: BLE001 (every kind is a finding)
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"
    took = time.process_time() - began
    run.inputs += 1
    if took > run.slowest_seconds:
        run.slowest_seconds, run.slowest_input = took, hashlib.sha256(data).hexdigest()[:12]
    if not what and took > target.seconds:
        what = f"took {took:.2f} s of processor time, {target.seconds:g} s are allowed"
    if what and not any(failure.what.split(":")[:2] == what.split(":")[:2] for failure in run.failures):
        run.failures.append(Failure(target=target.name, what=what, data=data))


@contextmanager
def _hang_after(seconds: float) -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        raise Hang(f"not read within {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def reset_peak_bytes() -> int:
    """Lower the noted peak of this process's memory to what it holds now, where the system can, and return it."""
    gc.collect()
    with suppress(OSError):  # the peak then stays where it was: only what exceeds it is seen
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    return peak_bytes()


def peak_bytes() -> int:
    """Return the peak of this process's resident memory; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text("ascii")
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
