"""The federation of experiments that are given no other: the tiny model on four parts of Python's library."""

from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path

from alignfed.base_model import digest_of
from alignfed.plan import Calibration, Lora
from bench.federation.data import EvaluationSize, built_in_sources, read_domain
from bench.federation.federation import Federation
from bench.federation.tiny_model import tiny_model
from coordinator.cli.calibration_set import load_tokenizer

RANK, LEARNING_RATE = 4, 5e-3
SEQUENCE_TOKENS, CALIBRATION_ROWS = 64, 16


def tiny_federation(cache_dir: Path, *, say: Callable[[str], None]) -> Federation:
    """Return the federation that `alignfed bench settle` has without options, pretraining its model at the first call.

    Args:
        cache_dir: Where models made here are kept.
        say: Told the progress, one line at a time.

    Raises:
        DataUnusable: Python's library holds too little source.
    """
    model_dir = tiny_model(cache_dir / "models", Path(sysconfig.get_path("stdlib")), say=say)
    tokenizer = load_tokenizer(model_dir)
    return Federation(
        name="the tiny model",
        model_dir=model_dir,
        model_digest=digest_of(model_dir),
        domains=tuple(
            read_domain(source, tokenizer, sequence_length=SEQUENCE_TOKENS, sizes=EvaluationSize())
            for source in built_in_sources()
        ),
        lora=Lora(rank=RANK, alpha=2.0 * RANK),
        sequence_length=SEQUENCE_TOKENS,
        learning_rate=LEARNING_RATE,
        calibration=Calibration(
            fit_rows=CALIBRATION_ROWS, judge_rows=CALIBRATION_ROWS, sequence_length=SEQUENCE_TOKENS
        ),
    )
