"""What several end-to-end tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends every command that a test has started, the last one first."""
    with ExitStack() as commands:
        yield commands
