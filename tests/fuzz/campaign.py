"""A campaign: every target gets its part of the inputs, in a process of its own, and one report."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.fuzz.driver import CORPUS
from tests.fuzz.guided import LOG
from tests.fuzz.job import BLACK_BOX, read_report
from tests.fuzz.reader import Failure, Run, last_input
from tests.fuzz.targets import SHARES

_ROOT = Path(__file__).parents[2]
_MEMORY_DISK = Path("/dev/shm")
_START_SECONDS = 600
_SLOWEST_PER_SECOND = 20
"""A job that is slower than that, on whatever machine, hangs where no timer reaches it."""


def campaign(*, inputs: int, processes: int, seed: int, names: list[str], guided: bool) -> int:
    """Fuzz the targets of these names and return the exit code: 1 when an input broke a promise."""
    began = time.perf_counter()
    mode = "guided by coverage (atheris)" if guided else "seeded (mutations of known inputs, without coverage)"
    print(f"seed {seed}, {inputs} inputs, {processes} processes, {mode}", flush=True)
    runs: list[Run] = []
    with ThreadPoolExecutor(processes) as pool:
        jobs = [pool.submit(run_job, name, part, seed, guided=guided) for name, part in jobs_of(inputs, names=names)]
        for job in as_completed(jobs):
            runs.append(job.result())
            print(runs[-1].line(), flush=True)
    return report(runs, seed=seed, mode=mode, seconds=time.perf_counter() - began)


def jobs_of(inputs: int, *, names: list[str], shares: Mapping[str, tuple[int, int]] = SHARES) -> list[tuple[str, int]]:
    """Divide `inputs` among targets by their shares, the part that takes longest first."""
    total = sum(shares[name][0] for name in names)
    parts = {name: inputs * shares[name][0] // total for name in names}
    parts[names[0]] += inputs - sum(parts.values())
    return sorted(parts.items(), key=lambda part: -part[1] * shares[part[0]][1])


def run_job(name: str, inputs: int, seed: int, *, guided: bool) -> Run:
    """Fuzz one target in a process of its own; its death is a failure, with the input that it had at hand."""
    disk = _MEMORY_DISK if os.access(_MEMORY_DISK, os.W_OK) else None  # targets that write files wait for no disk
    with tempfile.TemporaryDirectory(prefix="alignfed-fuzz-", dir=disk) as folder:
        scratch = Path(folder)
        command = [sys.executable, "-m", "tests.fuzz.job", name, f"--inputs={inputs}", f"--seed={seed}"]
        command += [f"--scratch={scratch}", *(["--guided"] if guided else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        ended = _ended(command, environment, longest_seconds=_START_SECONDS + inputs / _SLOWEST_PER_SECOND)
        run = read_report(scratch)
        if run is None:
            run = Run(target=name, seed=seed, mode="guided" if guided else "seeded")
            data = last_input(scratch / BLACK_BOX)
            run.failures.append(Failure(target=name, what=f"the process ended {ended}{_tail(scratch)}", data=data))
        return run


def _ended(command: list[str], environment: Mapping[str, str], *, longest_seconds: float) -> str:
    """Run a job and return how it ended, with the last that it said."""
    try:
        ended = subprocess.run(
            command, cwd=_ROOT, env=environment, capture_output=True, check=False, timeout=longest_seconds
        )
    except subprocess.TimeoutExpired:
        return f"by us, after {longest_seconds:.0f} s"
    said = [line for line in ended.stderr.decode("utf-8", "replace").splitlines() if not line.startswith("INFO")]
    if ended.returncode == 1:  # a Python error outside of what is fuzzed
        raise RuntimeError("a fuzz job is itself at fault:\n" + "\n".join(said))
    return f"with code {ended.returncode}: " + "\n".join(said[-5:])


def _tail(scratch: Path) -> str:
    log = scratch / LOG
    return log.read_text("utf-8", "replace")[-500:] if log.exists() else ""


def report(runs: list[Run], *, seed: int, mode: str, seconds: float) -> int:
    """Print the sum and every failure, keep failing inputs, and return the exit code."""
    inputs = sum(run.inputs for run in runs)
    outcomes = {(run.target, outcome) for run in runs for outcome in run.outcomes}
    slowest = max(runs, key=lambda run: run.slowest_seconds)
    greediest = max(runs, key=lambda run: run.grown_bytes)
    failures = [failure for run in runs for failure in run.failures]
    for failure in failures:
        print(f"FAILED {failure.target}: {failure.what}\n  kept in {failure.save(CORPUS)}")
    print(
        f"slowest input {slowest.slowest_seconds * 1000:.1f} ms of processor time, in {slowest.target}; "
        f"most memory +{greediest.grown_bytes / 2**20:.1f} MiB, in {greediest.target}"
    )
    print(
        f"{inputs} inputs, {len(failures)} failures, {len(outcomes)} ways to end in {len(runs)} targets, "
        f"{seconds:.1f} s, {inputs / seconds:.0f}/s, seed {seed}, {mode}"
    )
    return 1 if failures else 0
