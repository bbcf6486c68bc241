"""What is fuzzed, one file per target. A target is imported when it runs: some need torch, most do not."""

from __future__ import annotations

import importlib

from tests.fuzz.target import Target

SHARES = {
    "headers": 27,
    "requests": 16,
    "chunks": 8,
    "codec": 6,
    "adapters": 1,
    "plans": 6,
    "settings": 1,
    "rows": 12,
    "agent_files": 1,
    "records": 14,
    "traceparent": 8,
}
"""Name of every target and its part of all inputs: slow ones, which write files or call torch, get fewer."""


def load(name: str) -> Target:
    """Return a target by name."""
    target: Target = importlib.import_module(f"tests.fuzz.targets.{name}").TARGET
    assert target.name == name
    return target
