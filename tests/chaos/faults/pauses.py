"""How long a fault lasts."""

from __future__ import annotations

import threading


def pause(seconds: float) -> None:
    """Let that much time pass: how long a fault lasts is what the seed decides, not something to wait for."""
    threading.Event().wait(seconds)
