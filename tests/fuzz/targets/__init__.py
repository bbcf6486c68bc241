"""What is fuzzed, one file per target. A target is imported when it runs: some need torch, most do not."""

from __future__ import annotations

import importlib

from tests.fuzz.target import Target

SHARES = {
    "headers": (24, 60),
    "requests": (13, 80),
    "chunks": (10, 290),
    "codec": (6, 190),
    "adapters": (1, 420),
    "plans": (4, 540),
    "settings": (1, 660),
    "rows": (8, 110),
    "agent_files": (1, 700),
    "residuals": (1, 250),
    "records": (13, 130),
    "traceparent": (5, 25),
    "answers": (6, 80),
    "weights": (6, 90),
    "backups": (2, 1800),
}
"""Name of every target, its part of all inputs, and about how many microseconds an input takes.

What strangers reach, and what is cheap to read, gets most; what writes files or calls torch gets fewer.
"""


def load(name: str) -> Target:
    """Return a target by name."""
    target: Target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    assert target.name == name
    return target
