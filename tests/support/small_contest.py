"""A contest that takes seconds: small data, a small regime, two recipes, the tiny random model."""

from __future__ import annotations

import json
from pathlib import Path

REGIME = """
name = "small"
buffer_size = 2
duration_seconds = 8.0
job_seconds = 4.0
local_steps = 2

[[tiers]]
agents = 2
speed = 4.0

[[tiers]]
agents = 2
speed = 1.0
"""
SENTENCES = {
    "sums": "{i} plus {j} is {k}, and {k} minus {j} is {i} again.",
    "tales": "Once upon a time {i} cats met {j} dogs and became {k} friends.",
}


def write_contest(folder: Path, model: Path) -> list[str]:
    """Write data and a regime into a folder; return the arguments of `alignfed` that hold the contest there."""
    (folder / "small.toml").write_text(REGIME, "utf-8")
    data = []
    for domain, sentence in SENTENCES.items():
        rows = [{"text": sentence.format(i=i, j=i * 7 % 31, k=i + i * 7 % 31)} for i in range(40)]
        write_rows(folder / f"{domain}.jsonl", rows)
        data += ["--data", f"{domain}={domain}.jsonl"]
    return [
        "bench", "settle", *data, "--model", str(model), "--regime", "small.toml", "--layout", "tied",
        "--recipes", "participation,fedbuff", "--seeds", "1", "--jobs", "1", "--rank", "2", "--sequence-length", "32",
        "--calibration-rows", "2", "--out", "out",
    ]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def results(folder: Path) -> dict[Path, int]:
    """Return every result with the time it was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "out" / "results").rglob("*.json")}
