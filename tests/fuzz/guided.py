"""Fuzz one target by coverage, where atheris is installed: `python -m tests.fuzz.guided headers --inputs 100000`.

Inputs that reach new code are kept in a scratch folder and start later ones; the target's own mutations are used, so
that they stay close to valid. libFuzzer ends the process at the first failure and writes the failing input.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
from pathlib import Path

import atheris

from tests.fuzz.driver import CORPUS

READERS = ("alignfed", "coordinator", "edge_agent")
"""Packages whose branches guide the search."""
TIMEOUT_SECONDS = 20


def main() -> int:
    """Run until the inputs are used up, and return the exit code: not 0 when an input broke a promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with atheris.instrument_imports(include=list(READERS), enable_loader_override=False):
        from tests.fuzz.target import outcome_of
        from tests.fuzz.targets import load

        target = load(given.target)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        return target.mutate(bytes(data), random.Random(seed))[:most]

    with tempfile.TemporaryDirectory(prefix="alignfed-fuzz-") as scratch:
        tempfile.tempdir = scratch  # what targets write to goes the same way
        folder = Path(scratch) / "inputs"
        folder.mkdir()
        for index, data in enumerate(target.seeds()):
            (folder / f"seed-{index}").write_bytes(data)
        options = [f"-runs={given.inputs}", f"-seed={given.seed}", f"-timeout={TIMEOUT_SECONDS}", "-max_len=65536"]
        folders = [str(folder), *([str(CORPUS / target.name)] if (CORPUS / target.name).is_dir() else [])]
        child = os.fork()  # libFuzzer ends its process without cleaning up: the folder is ours to remove
        if not child:
            arguments = [sys.argv[0], *options, *folders]
            atheris.Setup(arguments, lambda data: outcome_of(target, data) and None, custom_mutator=mutate)
            atheris.Fuzz()
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
