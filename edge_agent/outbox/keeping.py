"""Keeping a new delta: room is made for it, and a full disk is waited for."""

from __future__ import annotations

from alignfed.errors import DiskFull
from edge_agent.domain import PreparedDelta
from edge_agent.journal import Journal
from edge_agent.outbox.outbox import Outbox
from edge_agent.status import Activity
from edge_agent.wire.link import Link


def keep(outbox: Outbox, delta: PreparedDelta, *, link: Link, journal: Journal, trace_context: str = "") -> None:
    """Put a delta into the outbox, once, however long the disk has no space for it.

    Raises:
        Interrupted: The agent stops while the disk has no space: this one delta is lost, none before it.
        RequestInvalid: The outbox cannot be written.
    """

    def store() -> None:
        while (dropped := outbox.drop_oldest_for(delta)) is not None:
            journal.dropped(dropped.meta)
        outbox.put(delta, trace_context=trace_context)

    try:
        store()  # first without asking whether the agent stops: what is trained is kept
    except DiskFull as error:
        journal.activity(Activity.WAITING, error.message)
        link.call(store)
