"""Fuzz one target in this process and write what came of it as JSON: `python -m tests.fuzz.job headers --inputs 1000`.

Campaigns start one for each target, so that its memory tells and its death takes nothing with it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fuzz.driver import fuzz, shortened
from tests.fuzz.guided import fuzz_guided, load_instrumented
from tests.fuzz.reader import Failure, Run
from tests.fuzz.target import Target
from tests.fuzz.targets import load

BLACK_BOX = "input-at-hand"
REPORT = "report.json"


def main() -> None:
    """Run; the report is written to the scratch folder at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", action="store_true", help="by coverage; needs atheris")
    parser.add_argument("--scratch", type=Path, required=True, help="an empty folder, for whoever started this")
    given = parser.parse_args()
    scratch: Path = given.scratch
    tempfile.tempdir = str(scratch)  # what targets write to goes the same way
    target = load_instrumented(given.target) if given.guided else load(given.target)
    options = {"inputs": given.inputs, "seed": given.seed, "black_box": scratch / BLACK_BOX}
    if given.guided:
        fuzz_guided(target, **options, scratch=scratch, done=lambda run: write_report(target, run, scratch))
        sys.exit("atheris has ended without a report")
    write_report(target, fuzz(target, **options), scratch)


def write_report(target: Target, run: Run, scratch: Path) -> None:
    """Write a run to the scratch folder, its failing inputs made short."""
    run.failures = [shortened(target, failure) for failure in run.failures]
    plain = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    failures = [dataclasses.asdict(failure) | {"data": failure.data.hex()} for failure in run.failures]
    (scratch / REPORT).write_text(json.dumps(plain | {"failures": failures}), "utf-8")


def read_report(scratch: Path) -> Run | None:
    """Return the run that a job reported; None when it died before."""
    path = scratch / REPORT
    if not path.exists():
        return None
    plain = json.loads(path.read_text("utf-8"))
    failures = [Failure(**{**failure, "data": bytes.fromhex(failure["data"])}) for failure in plain.pop("failures")]
    outcomes = Counter(plain.pop("outcomes"))
    return Run(**plain, outcomes=outcomes, failures=failures)


if __name__ == "__main__":
    main()
