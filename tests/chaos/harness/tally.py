"""Counting the dead: which kinds of process died, and at which failpoint."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

FAILED_HERE = re.compile(r"^failpoint (\S+) hit \d+ pid \d+: crash$", re.MULTILINE)
"""How a process says at which failpoint it dies."""


@dataclasses.dataclass(slots=True)
class Tally:
    """Deaths: by the kind of the process, and by the failpoint or `SIGKILL` that brought them."""

    by_kind: Counter[str] = dataclasses.field(default_factory=Counter)
    by_place: Counter[str] = dataclasses.field(default_factory=Counter)

    @property
    def crashes(self) -> int:
        """How many there were in all."""
        return self.by_kind.total()

    def count(self, kind: str, place: str) -> None:
        """Count one death."""
        self.by_kind[kind] += 1
        self.by_place[place] += 1
