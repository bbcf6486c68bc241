"""A campaign: every target gets its part of the inputs, in processes of their own, and one report."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.fuzz.driver import CORPUS, Run, fuzz
from tests.fuzz.targets import SHARES, load


def campaign(*, inputs: int, processes: int, seed: int, names: list[str]) -> int:
    """Fuzz the targets of these names and return the exit code: 1 when an input broke a promise."""
    began = time.perf_counter()
    print(f"seed {seed}", flush=True)
    runs: list[Run] = []
    spawn = multiprocessing.get_context("spawn")  # a process for each target, so that its memory tells
    with ProcessPoolExecutor(processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        jobs = [pool.submit(fuzz_one, *job, seed) for job in jobs_of(inputs, names=names)]
        for job in as_completed(jobs):
            runs.append(job.result())
            print(runs[-1].line(), flush=True)
    return report(runs, seed=seed, seconds=time.perf_counter() - began)


def jobs_of(inputs: int, *, names: list[str]) -> list[tuple[str, int]]:
    """Divide `inputs` among targets by their shares, the largest part first."""
    total = sum(SHARES[name] for name in names)
    parts = {name: inputs * SHARES[name] // total for name in names}
    parts[names[0]] += inputs - sum(parts.values())
    return sorted(parts.items(), key=lambda part: -part[1])


def fuzz_one(name: str, inputs: int, seed: int) -> Run:
    """Fuzz one target in this process."""
    return fuzz(load(name), inputs=inputs, seed=seed)


def report(runs: list[Run], *, seed: int, seconds: float) -> int:
    """Print the sum and every failure, keep failing inputs, and return the exit code."""
    inputs = sum(run.inputs for run in runs)
    outcomes = sorted({outcome for run in runs for outcome in run.outcomes})
    slowest = max(runs, key=lambda run: run.slowest_seconds)
    print(f"seed {seed}: {inputs} inputs in {seconds:.1f} s, {inputs / seconds:.0f}/s")
    print(f"{len(outcomes)} distinct outcomes: {', '.join(outcomes)}")
    print(f"slowest input {slowest.slowest_seconds * 1000:.1f} ms of processor time, in {slowest.target}")
    failures = [failure for run in runs for failure in run.failures]
    for failure in failures:
        print(f"FAILED {failure.target}: {failure.what}\n  kept in {failure.save(CORPUS)}")
    return 1 if failures else 0
