"""Who takes part: what a process is started with, each time that it is started."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

ENDLESS = 1_000_000_000
"""Deltas of a sender that sends until it is told to stop."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Role:
    """A process that is started again whenever it ends, unless it is `once` or retired."""

    kind: str
    name: str
    settings: dict[str, Any]
    ready: str = ""
    once: bool = False


Arm = Callable[[Role], str]
"""Returns the failpoints that a role's next start gets."""
