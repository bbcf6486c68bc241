"""Runs fuzz targets: so many inputs from a seed, each one judged, failing inputs made short and kept for replay."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from tests.fuzz.reader import MOST_INPUT_BYTES, Failure, Reader, Run, judged
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"
_MOST_SPOILED_BYTES = 8 * 1024  # longer ones are read once: mutations of them would take most of the time
_POOL = 256
_MOST_CUTS = 400


def fuzz(target: Target, *, inputs: int, seed: int, black_box: Path | None = None) -> Run:
    """Read the corpus, the target's seeds, and then mutations of them until `inputs` inputs were read.

    An input that ends in a way not seen before joins the seeds, so that later inputs start from it.
    """
    rng = random.Random(f"{target.name}:{seed}")
    run = Run(target=target.name, seed=seed)
    seeds, kept = list(target.seeds()), list(corpus_of(target.name).values())
    pool = [*kept, *seeds]
    reader = Reader(target, run, black_box=black_box)
    with reader.watched():
        for data in pool[:inputs]:
            reader.read(data)
        reader.rebase()
        pool = [*seeds, *(data for data in kept if len(data) <= _MOST_SPOILED_BYTES)]
        while run.inputs < inputs and not reader.full:
            data = target.mutate(rng.choice(pool), rng)
            if rng.random() < 0.15:
                data = target.mutate(data, rng)
            data = data[:MOST_INPUT_BYTES]
            known = len(run.outcomes)
            reader.read(data)
            if len(run.outcomes) > known and len(pool) < _POOL and len(data) <= _MOST_SPOILED_BYTES:
                pool.append(data)
    return reader.finish()


def replay(target: Target, data: bytes) -> str:
    """Read one input under the same bounds and return how it ended.

    Raises:
        AssertionError: It broke a promise; the message says which.
    """
    run = Run(target=target.name, seed=0)
    reader = Reader(target, run)
    with reader.watched():
        reader.read(data)
    assert not run.failures, run.failures[0].what
    return next(iter(run.outcomes))


def shortened(target: Target, failure: Failure) -> Failure:
    """Return the failure with as much cut out of its input as leaves it a failure of the same kind.

    A slow or greedy input stays as it is: reading it again and again would take too long.
    """
    if failure.what.startswith(("took", "memory", "Hang", "the process")):
        return failure
    step, tries = len(failure.data) // 2, 0
    while step and tries < _MOST_CUTS:
        start = 0
        while start < len(failure.data) and tries < _MOST_CUTS:
            tries += 1
            cut = failure.data[:start] + failure.data[start + step :]
            shorter = Failure(target=target.name, what=judged(target, cut, Counter()), data=cut)
            if shorter.kind == failure.kind:
                failure = shorter
            else:
                start += step
        step //= 2
    return failure


def corpus_of(name: str) -> dict[str, bytes]:
    """Return the kept inputs of a target by file name."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).glob("*"))}
