"""The background thread that empties the outbox: query, resume, submit, settle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from alignfed.errors import AgentRevoked, Rejected, RequestInvalid, UnknownAgent, UnknownFederation, WrongBaseModel
from edge_agent.domain import DeltaMeta, DeltaState, GlobalVersion, Receipt, ResumeAt
from edge_agent.journal import Journal
from edge_agent.outbox.outbox import Outbox, OutboxEntry
from edge_agent.stopping import Interrupted
from edge_agent.wire.link import Link

SETTLE_SECONDS = 10.0
"""How often acknowledged deltas are asked about, besides at every new head: only disk space waits for the answer."""
FATAL = (AgentRevoked, UnknownAgent, UnknownFederation, RequestInvalid, WrongBaseModel)
"""Rejections that concern the agent and not one delta: its deltas stay in the outbox and the agent stops."""


class UploadClient(Protocol):
    """What the uploader needs of a client; see `edge_agent.wire.client`."""

    def query_upload(
        self, delta_id: str, sha256: str, *, rank: int, base: GlobalVersion | None = None
    ) -> Receipt | ResumeAt:
        """Return the delta's receipt, or where its upload goes on; with `base`, raise what the upload would."""
        ...

    def submit(self, meta: DeltaMeta, payload: Path, resume: ResumeAt, *, chunk_bytes: int) -> Receipt:
        """Upload a delta's payload."""
        ...


class Uploader:
    """Owns the upload thread.

    Args:
        client: Transfers.
        link: Tries again, and ends the thread when the agent stops.
        outbox: What to send.
        journal: Is told what came of it.
        on_failure: Told, on the upload thread, an error that no further try can help; the thread is then over.
    """

    def __init__(
        self,
        *,
        client: UploadClient,
        link: Link,
        outbox: Outbox,
        journal: Journal,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._client = client
        self._link = link
        self._outbox = outbox
        self._journal = journal
        self._on_failure = on_failure
        self._settle_at = 0.0
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def start(self) -> None:
        """Begin with what earlier runs have left in the outbox."""
        self._thread.start()

    def settle_soon(self) -> None:
        """Ask about acknowledged deltas at the next opportunity: there is a new head."""
        self._settle_at = 0.0
        self._outbox.wake()

    def join(self) -> None:
        """Wait until the thread is over; the agent's stop event must be set, or `on_failure` was told."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while True:
                for entry in self._outbox.pending:
                    self._deliver(entry)
                if time.monotonic() >= self._settle_at:
                    self._settle_at = time.monotonic() + SETTLE_SECONDS
                    for entry in self._outbox.acknowledged:
                        self._ask(entry)
                self._rest()
        except Interrupted:
            pass
        except BaseException as error:  # noqa: BLE001  # a thread has nobody to raise to: the agent raises it
            self._on_failure(error)

    def _rest(self) -> None:
        """Wait for a new delta, or until settling is due."""

        def has_work(outbox: Outbox) -> bool:
            return self._link.stopping or bool(outbox.pending) or time.monotonic() >= self._settle_at

        self._outbox.wait_until(has_work, timeout_seconds=max(0.0, self._settle_at - time.monotonic()))
        self._link.pause(0)  # leaves when stopping

    def _deliver(self, entry: OutboxEntry) -> None:
        """Bring one pending delta to the coordinator, however long it takes, or learn that it is not wanted."""
        try:
            answer = self._link.call(lambda: self._transfer(entry))
        except FATAL:
            raise
        except Rejected as error:
            answer = Receipt(
                delta_id=entry.meta.delta_id, state=DeltaState.REJECTED, reason=error.reason, detail=error.message
            )
        if answer is None:
            return  # dropped meanwhile
        if answer.state is DeltaState.QUEUED:
            self._link.call(lambda: self._outbox.acknowledge(entry.meta.delta_id))
            self._journal.acknowledged(entry.meta)
        else:
            self._settle(entry, answer)

    def _transfer(self, entry: OutboxEntry) -> Receipt | None:
        """Make one try to upload a delta, from where the coordinator has it; none when it is not wanted any more.

        None when it was dropped from the outbox since.
        """
        meta = entry.meta
        if not self._outbox.is_pending(meta.delta_id):
            return None
        with self._journal.uploading(entry):
            answer = self._client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank, base=meta.base)
            if isinstance(answer, Receipt):
                return answer
            if not self._outbox.begin(meta.delta_id):
                return None
            chunk_bytes = self._link.plan.limits.chunk_bytes
            try:
                return self._client.submit(meta, entry.payload, answer, chunk_bytes=chunk_bytes)
            except FileNotFoundError:
                if self._outbox.is_pending(meta.delta_id):
                    raise
                return None

    def _ask(self, entry: OutboxEntry) -> None:
        """Ask what has become of an acknowledged delta."""
        meta = entry.meta
        answer = self._link.call(lambda: self._client.query_upload(meta.delta_id, meta.sha256, rank=meta.rank))
        if isinstance(answer, ResumeAt):
            self._link.call(lambda: self._outbox.reopen(meta.delta_id))
            self._journal.lost(meta)
        elif answer.state is not DeltaState.QUEUED:
            self._settle(entry, answer)

    def _settle(self, entry: OutboxEntry, receipt: Receipt) -> None:
        if receipt.state is DeltaState.MERGED:
            self._link.call(lambda: self._outbox.remove(entry.meta.delta_id))
            self._journal.merged(entry.meta, receipt)
        else:
            self._link.call(lambda: self._outbox.reject(entry.meta.delta_id, receipt))
            self._journal.rejected(entry.meta, receipt)
