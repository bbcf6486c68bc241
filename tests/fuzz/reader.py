"""Reads inputs of one target under its bounds: an unknown error, slow reading, a hang or too much memory is a failure.

What is measured costs little per input: a timer that ticks twice a second notices hangs, memory is looked at every
`SAMPLE` inputs, and the input at hand lies in a shared page, so that it survives even the death of the process.
"""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import hashlib
import mmap
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.fuzz.target import Target, outcome_of

MEMORY_BYTES = 32 << 20
"""What reading inputs, each of at most 64 KiB, may add to the process's peak of resident memory; twice that fails."""
HANG_SECONDS = 10.0
"""Processor time after which an input counts as a hang and is interrupted."""
MOST_FAILURES = 20
MOST_INPUT_BYTES = 64 * 1024
SAMPLE = 256
_TICK_SECONDS = 0.5
_BOX_BYTES = 4 * MOST_INPUT_BYTES  # kept inputs may be longer than new ones


class Hang(Exception):
    """An input was not read within `HANG_SECONDS`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An input that broke a promise, and where."""

    target: str
    what: str
    data: bytes

    @property
    def kind(self) -> tuple[str, ...]:
        """Two failures of one kind are one finding."""
        return tuple(self.what.split(":")[:2])

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
    mode: str = "seeded"
    inputs: int = 0
    outcomes: Counter[str] = dataclasses.field(default_factory=Counter)
    failures: list[Failure] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    busy_seconds: float = 0.0
    slowest_seconds: float = 0.0
    slowest_input: str = ""
    grown_bytes: int = 0
    digest: str = ""
    edges: int = 0

    def line(self) -> str:
        """Return the run as one line for people."""
        rate = self.inputs / self.busy_seconds if self.busy_seconds else 0.0
        reached = f"{self.edges:4} edges" if self.edges else f"{'':10}"
        return (
            f"{self.target:12} {self.mode:6} seed {self.seed}  {self.inputs:8} inputs {self.seconds:6.1f} s "
            f"{rate:6.0f}/s of processor time  {len(self.outcomes):3} outcomes {reached}  "
            f"slowest {self.slowest_seconds * 1000:6.1f} ms ({self.slowest_input})  "
            f"memory +{self.grown_bytes / 2**20:.1f} MiB  inputs' digest {self.digest}  {len(self.failures)} failures"
        )


class Reader:
    """Reads inputs of a target one after the other and notes in `run` what became of them.

    Args:
        target: What reads.
        run: Where the counts go.
        black_box: A file that holds the input at hand, for whoever finds this process dead.
    """

    def __init__(self, target: Target, run: Run, *, black_box: Path | None = None) -> None:
        self.run = run
        self._target = target
        self._began: float | None = None
        self._digest = hashlib.blake2b(digest_size=4)
        self._recent: deque[bytes] = deque(maxlen=SAMPLE)
        self._box = _shared(black_box) if black_box is not None else None
        self._known = {failure.kind for failure in run.failures}
        self._started, self._busy = time.perf_counter(), time.process_time()
        self._peak_before = reset_peak_bytes()

    @property
    def full(self) -> bool:
        """Whether more failures were found than anybody reads."""
        return len(self.run.failures) >= MOST_FAILURES

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Interrupt what hangs meanwhile."""

        def tick(_number: int, _frame: object) -> None:
            if self._began is not None and time.process_time() - self._began > HANG_SECONDS:
                self._began = None
                raise Hang(f"not read within {HANG_SECONDS:g} s of processor time")

        before = signal.signal(signal.SIGVTALRM, tick)
        ticks = min(_TICK_SECONDS, HANG_SECONDS / 2)
        signal.setitimer(signal.ITIMER_VIRTUAL, ticks, ticks)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def read(self, data: bytes) -> None:
        """Read one input and judge it."""
        run = self.run
        self._digest.update(len(data).to_bytes(4, "big") + data)
        self._recent.append(data)
        if self._box is not None:
            held = data[:_BOX_BYTES]
            self._box[: 4 + len(held)] = len(held).to_bytes(4, "big") + held
        self._began = began = time.process_time()
        what = judged(self._target, data, run.outcomes)
        self._began = None
        took = time.process_time() - began
        run.inputs += 1
        if took > run.slowest_seconds:
            run.slowest_seconds, run.slowest_input = took, hashlib.sha256(data).hexdigest()[:12]
        if not what and took > self._target.seconds:
            what = f"took {took:.2f} s of processor time, {self._target.seconds:g} s are allowed"
        if what:
            self._fail(what, data)
        if not run.inputs % SAMPLE:
            self._look_at_memory()

    def rebase(self) -> None:
        """Count memory from here on: what was read so far has loaded what loads once."""
        self._peak_before = reset_peak_bytes()

    def finish(self) -> Run:
        """Look at memory once more, and return the run with its figures."""
        self._look_at_memory()
        run = self.run
        run.seconds = time.perf_counter() - self._started
        run.busy_seconds = time.process_time() - self._busy
        run.digest = self._digest.hexdigest()
        return run

    def _fail(self, what: str, data: bytes) -> None:
        failure = Failure(target=self._target.name, what=what, data=data)
        if failure.kind not in self._known and not self.full:
            self._known.add(failure.kind)
            self.run.failures.append(failure)

    def _look_at_memory(self) -> None:
        grown = peak_bytes() - self._peak_before
        self.run.grown_bytes = max(self.run.grown_bytes, grown)
        if grown <= 2 * MEMORY_BYTES or any(kind[0] == "memory" for kind in self._known):
            return
        self._fail(f"memory: grew by {grown} bytes, over twice the {MEMORY_BYTES} allowed", self._greediest())

    def _greediest(self) -> bytes:
        """Read the last inputs again and return the one that took most; nothing when none takes much by itself.

        Twice: what another thread frees in the moment in which an input takes memory would hide that.
        """
        took: Counter[bytes] = Counter()
        give_back()
        for data in [*self._recent, *self._recent]:
            before = lower_peak_bytes()
            with suppress(Exception):
                outcome_of(self._target, data)
            took[data] = max(took[data], peak_bytes() - before)
        most = max(took, key=lambda data: took[data], default=b"")
        return most if took[most] > 1 << 20 else b""


def judged(target: Target, data: bytes, outcomes: Counter[str]) -> str:
    """Read one input and return what is wrong about it; count how it ended when nothing is."""
    try:
        outcomes[outcome_of(target, data)] += 1
    except Exception as error:  # noqa: BLE001 (every kind is a finding)
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {str(error)[:200]}"
    return ""


def reset_peak_bytes(process: int | str = "self") -> int:
    """Free what is garbage here, then lower the noted peak of a process's memory, where the system can; return it."""
    give_back()
    return lower_peak_bytes(process)


def give_back() -> None:
    """Free what is garbage, and give free memory back to the system: what is taken out of that would not show."""
    gc.collect()
    with suppress(OSError, AttributeError):  # not the C library that has it
        ctypes.CDLL(None).malloc_trim(0)


def lower_peak_bytes(process: int | str = "self") -> int:
    """Lower the noted peak of a process's memory to what it holds now, where the system can, and return it."""
    with suppress(OSError):  # the peak then stays where it was: only what exceeds it is seen
        Path(f"/proc/{process}/clear_refs").write_text("5", "ascii")
    return peak_bytes(process)


def peak_bytes(process: int | str = "self") -> int:
    """Return the peak of a process's resident memory; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text("ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def _shared(path: Path) -> mmap.mmap:
    path.write_bytes(bytes(4 + _BOX_BYTES))
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0)


def last_input(black_box: Path) -> bytes:
    """Return the input that a process had at hand when it died."""
    held = black_box.read_bytes() if black_box.exists() else b""
    return held[4 : 4 + int.from_bytes(held[:4], "big")]
