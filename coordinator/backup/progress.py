"""Signs of life of work that may take minutes."""

from __future__ import annotations

from collections.abc import Callable

from coordinator.ports import Clock

TELL_SECONDS = 5.0
"""How often people are told how far it is; quicker work says nothing at all."""


class Progress:
    """Says how far something is, now and then.

    Args:
        say: Shows a line to people.
        clock: Its monotonic time decides when.
    """

    def __init__(self, say: Callable[[str], None], clock: Clock) -> None:
        self.say = say
        self._clock = clock
        self._told_at = clock.monotonic()

    def tell(self, what: str, done_bytes: int) -> None:
        """Say what is being done and how many bytes are, unless something was said a moment ago."""
        now = self._clock.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            self.say(f"{what}, {done_bytes / 1e6:,.0f} MB")
