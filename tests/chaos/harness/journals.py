"""What senders and agents were told, noted so that not even SIGKILL makes them forget: one line per event in a file."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

from edge_agent.domain import PreparedDelta, Receipt
from edge_agent.outbox.outbox import Outbox, OutboxEntry

MADE, SENDING, ACKNOWLEDGED, REFUSED = "made", "sending", "acknowledged", "refused"


class EventLog:
    """Appends `EVENT ID` lines, each with one write: a killed process leaves whole lines, and the kernel has them all.

    It is not forced to the disk: these tests kill processes, not machines.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, event: str, delta_id: str) -> None:
        """Append one event; several threads may."""
        os.write(self._file, f"{event} {delta_id}\n".encode())


def read_events(path: Path) -> dict[str, Counter[str]]:
    """Return how often each delta id was noted, by event; nothing for a file that is not there."""
    events: dict[str, Counter[str]] = {}
    for line in path.read_text("ascii").splitlines() if path.exists() else ():
        event, _, delta_id = line.partition(" ")
        events.setdefault(event, Counter())[delta_id] += 1
    return events


class WitnessedOutbox(Outbox):
    """The agent's outbox, which notes what the coordinator said before it acts on it.

    So the noted acknowledgements are all there were: a kill in between leaves one too many notes, never one too few.
    """

    def __init__(self, root: Path, **options: Any) -> None:
        self._events = EventLog(root.with_name("events.log"))
        super().__init__(root, **options)

    def put(self, delta: PreparedDelta, *, trace_context: str = "") -> OutboxEntry:
        entry = super().put(delta, trace_context=trace_context)
        self._events.note(MADE, delta.meta.delta_id)
        return entry

    def acknowledge(self, delta_id: str) -> None:
        self._events.note(ACKNOWLEDGED, delta_id)
        super().acknowledge(delta_id)

    def remove(self, delta_id: str) -> None:
        self._events.note(ACKNOWLEDGED, delta_id)  # a receipt that says merged is an acknowledgement too
        super().remove(delta_id)

    def reject(self, delta_id: str, receipt: Receipt) -> None:
        self._events.note(REFUSED, delta_id)
        super().reject(delta_id, receipt)
