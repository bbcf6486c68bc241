"""Domain values as plain JSON values."""

from __future__ import annotations

import dataclasses
from typing import Any


def to_json(value: Any) -> dict[str, Any]:
    """Return a value of this module as plain JSON values."""
    return dataclasses.asdict(value)
