"""Fuzzing by coverage, with atheris: inputs that reach new code start later ones.

The target's own mutations are used, so that inputs stay close to valid. libFuzzer's process ends without cleaning up:
this runs in a process of its own, with a scratch folder that somebody else removes; see `tests.fuzz.job`.
"""

from __future__ import annotations

import importlib.util
import os
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.driver import CORPUS
from tests.fuzz.reader import MOST_INPUT_BYTES, Reader, Run
from tests.fuzz.target import Target

READERS = ("alignfed", "coordinator", "edge_agent")
"""Packages whose branches guide the search."""
LOG = "libfuzzer.log"
TIMEOUT_SECONDS = 300
"""Real time after which libFuzzer ends the process: of an input that hangs where no Python runs."""


def is_installed() -> bool:
    """Whether atheris can be imported here."""
    return importlib.util.find_spec("atheris") is not None


def load_instrumented(name: str) -> Target:
    """Import a target, and with it what it reads with, so that every branch taken is noted."""
    import atheris

    with atheris.instrument_imports(include=list(READERS), enable_loader_override=False):
        from tests.fuzz.targets import load

        return load(name)


def fuzz_guided(
    target: Target, *, inputs: int, seed: int, scratch: Path, black_box: Path, done: Callable[[Run], None]
) -> None:
    """Read `inputs` inputs, tell `done` what came of them, and end this process."""
    import atheris

    log = scratch / LOG
    run = Run(target=target.name, seed=seed, mode="guided")
    reader = Reader(target, run, black_box=black_box)
    seeds = _seed_folder(target, scratch)
    rebase_at = len(list(seeds.iterdir())) + len(list((CORPUS / target.name).glob("*")))

    def one(data: bytes) -> None:
        reader.read(data)
        if run.inputs == rebase_at:
            reader.rebase()
        if run.inputs >= inputs or reader.full:
            run.edges = _edges(log)
            done(reader.finish())
            sys.stdout.flush()
            os._exit(0)

    def mutate(data: bytes, most: int, mutation_seed: int) -> bytes:
        return target.mutate(bytes(data), random.Random(mutation_seed))[:most]

    os.dup2(os.open(log, os.O_CREAT | os.O_WRONLY), 2)
    options = [f"-runs={2 * inputs}", f"-seed={seed % 2**32 or 1}", f"-max_len={MOST_INPUT_BYTES}", "-rss_limit_mb=0"]
    options += [f"-timeout={TIMEOUT_SECONDS}", f"-artifact_prefix={scratch}/", "-reduce_inputs=0", "-len_control=0"]
    folders = [str(seeds), *([str(CORPUS / target.name)] if (CORPUS / target.name).is_dir() else [])]
    with reader.watched():
        atheris.Setup([sys.argv[0], *options, *folders], one, custom_mutator=mutate)
        atheris.Fuzz()


def _seed_folder(target: Target, scratch: Path) -> Path:
    folder = scratch / "inputs"
    folder.mkdir()
    for index, data in enumerate(target.seeds()):
        (folder / f"seed-{index:03}").write_bytes(data)
    return folder


def _edges(log: Path) -> int:
    """Return how many branches libFuzzer says were reached."""
    found = re.findall(r"cov: (\d+)", log.read_text("utf-8", "replace"))
    return int(found[-1]) if found else 0
