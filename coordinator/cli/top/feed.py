"""The thread behind `alignfed top`: reads snapshots, survives a coordinator that goes away, and tells since when."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import TYPE_CHECKING

from alignfed.errors import AlignFedError
from coordinator.cli.options import Connect
from coordinator.cli.top.snapshot import Reader, Snapshot

if TYPE_CHECKING:
    from coordinator.cli.operator_client import OperatorClient

CALL_SECONDS = 5.0
"""Deadline of each call: a coordinator that needs longer is shown as lost, and asked again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest snapshot; `lost_at` (Unix seconds) and `trouble` say since when and why there is no newer one."""

    snapshot: Snapshot
    lost_at: float | None = None
    trouble: str = ""


class Feed:
    """Owns a thread and a connection. Use it as a context manager; it ends at once, whatever the coordinator does.

    Args:
        connect: Opens a connection.
        federations: Those to look at; none for all.
        interval_seconds: Between two reads.
    """

    def __init__(self, connect: Connect, federations: tuple[str, ...], interval_seconds: float) -> None:
        self._connect = connect
        self._reader = Reader(federations)
        self._interval_seconds = interval_seconds
        self._client: OperatorClient = connect(call_seconds=CALL_SECONDS)
        self._chosen = ""
        self._seen: Seen | None = None
        self._wake, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="top-feed", daemon=True)

    def __enter__(self) -> Feed:
        try:
            self._seen = Seen(snapshot=self._reader.read(self._client, ""))  # a wrong address is told at once
        except BaseException:
            self._client.close()
            raise
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stopped.set()
        self._wake.set()
        self._client.close()  # ends a call that waits
        self._thread.join(CALL_SECONDS)

    @property
    def address(self) -> str:
        """Who is asked."""
        return self._client.address

    @property
    def seen(self) -> Seen:
        """The newest snapshot, and what has been wrong since."""
        assert self._seen is not None, "enter the feed first"
        return self._seen

    def choose_next(self) -> None:
        """Bring the next federation into view."""
        names = [it.view.plan.federation for it in self.seen.snapshot.summaries]
        if names:
            now = self.seen.snapshot.chosen
            self._chosen = names[(names.index(now) + 1) % len(names)] if now in names else names[0]
            self._wake.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._interval_seconds)
            self._wake.clear()
            if not self._stopped.is_set():
                self._read()

    def _read(self) -> None:
        try:
            snapshot = self._reader.read(self._client, self._chosen)
        except AlignFedError as error:
            if self._stopped.is_set():
                return
            before = self.seen
            lost_at = time.time() if before.lost_at is None else before.lost_at
            self._seen = dataclasses.replace(before, lost_at=lost_at, trouble=error.message)
            self._client.close()  # a new connection does not wait out the old one's growing pauses
            self._client = self._connect(call_seconds=CALL_SECONDS)
        except ValueError:  # grpc's answer to a call on a channel that `__exit__` has just closed
            if not self._stopped.is_set():
                raise
        else:
            self._seen = Seen(snapshot=snapshot)
