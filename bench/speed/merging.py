"""Merging against reading: the worker's own merge, and one pass over the bytes of all its deltas."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from alignfed.codec import Factors
from bench.speed.goals import Goal, Row
from bench.speed.rounds import compare
from coordinator.algo.factors import BLOCK_ELEMENTS
from coordinator.algo.merge.merging import Term, merge


def measure_merge(
    goal: Goal,
    dtype: torch.dtype,
    *,
    parameters: int,
    deltas: int,
    rounds: int,
    say: Callable[[str], None],
    prepared: Callable[[], object] = lambda: None,
) -> Row:
    """Merge `deltas` of `parameters` elements that are in memory already; in one thread, like a ceiling has to be.

    Args:
        goal: What the figures are for.
        dtype: Of the deltas as they lie in memory; the accumulator is fp32.
        parameters: Elements of each.
        deltas: How many are merged.
        rounds: How often.
        say: Told each round.
        prepared: Called when head and deltas are in memory, before anything is merged.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        head = _adapter(parameters, torch.float32)
        loaded = [_adapter(parameters, dtype) for _ in range(deltas)]
        prepared()
        terms = [Term(coefficient=1.0 / deltas, load=lambda delta=delta: delta) for delta in loaded]  # type: ignore[misc]
        return compare(
            goal,
            lambda: _seconds(lambda: merge(head, terms, server_learning_rate=1.0)),
            lambda: _seconds(lambda: [_read(tensor) for delta in loaded for tensor in delta.values()]),
            rounds=rounds,
            say=say,
        )
    finally:
        torch.set_num_threads(threads)


def _adapter(parameters: int, dtype: torch.dtype) -> Factors:
    """Return an adapter's two factors, filled so that every page is there."""
    return {name: torch.full((parameters // 2,), 0.5, dtype=dtype) for name in ("A", "B")}


def _read(tensor: torch.Tensor) -> float:
    """Read a tensor once, in the merge's blocks, as 64-bit integers: the least work for every byte."""
    words = tensor.view(torch.int64)
    step = BLOCK_ELEMENTS * tensor.element_size() // words.element_size()
    return float(sum(int(words[start : start + step].sum()) for start in range(0, words.numel(), step)))


def _seconds(work: Callable[[], object]) -> float:
    """Return the processor time of this thread, the only one that works: other processes' turns do not count."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
