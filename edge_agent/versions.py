"""Where training starts from: the newest global version, downloaded once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from alignfed.codec import Factors
from alignfed.errors import InvariantBroken, Unavailable, UnknownAgent, VersionNotFound, VersionRefused
from edge_agent.acceptance import Acceptance
from edge_agent.domain import GlobalVersion, HeadStatus
from edge_agent.journal import Journal
from edge_agent.status import Activity
from edge_agent.training.delta import BaseAdapter
from edge_agent.wire.download import AdapterDownload
from edge_agent.wire.link import Link

WAIT_SECONDS = 10.0
"""Longest poll for a newer version, which ends it at once. A rejection of the delta ends the wait too: the uploader
takes as long to learn of it."""
VERSION_GONE_SECONDS = 1.0
"""Pause before asking again when the head vanished under a download: a rollback takes milliseconds."""
REFUSED_SECONDS = 15.0
"""Pause before asking for the head again when it was refused: what operators do about it takes minutes."""

logger = logging.getLogger(__name__)


class VersionClient(Protocol):
    """What the loop needs of a client; see `edge_agent.wire.client`."""

    def global_version(self, *, after: int | None = None, wait_seconds: float = 0.0) -> HeadStatus:
        """Return the head, at once or as soon as it is newer than `after`."""
        ...

    def download(self, download: AdapterDownload) -> None:
        """Fetch what is missing of an adapter."""
        ...


class VersionSource:
    """Follows the head and holds the version that training started from.

    Args:
        client: Asks and downloads.
        link: Tries again, and knows the plan.
        journal: Is told what happens.
        on_new_head: Called when the head turns out to have moved.
        acceptance: Verifies what was signed of versions; None takes any.
    """

    def __init__(
        self,
        *,
        client: VersionClient,
        link: Link,
        journal: Journal,
        on_new_head: Callable[[], None],
        acceptance: Acceptance | None = None,
    ) -> None:
        self._acceptance = acceptance
        self._client = client
        self._link = link
        self._journal = journal
        self._on_new_head = on_new_head
        self._base: BaseAdapter | None = None

    def pull(self, *, wait_while: Callable[[GlobalVersion], bool] = lambda _head: False) -> BaseAdapter:
        """Return the newest version, downloading it unless it is the one already held.

        Without a coordinator it is the one held: its deltas will be stale, not lost, and the outbox bounds how many.

        Args:
            wait_while: A head for which this holds is not wanted: a newer one is waited for, with or without a
                coordinator, until there is one or it holds no more.

        Raises:
            VersionRefused: The first version of all is not signed as it must be. Later ones that are not are waited
                out: operators may mend what happened, and nothing is trained meanwhile.
        """
        while True:
            head = self._head()
            if wait_while(head):
                self._wait_for_newer(head, wait_while)
                continue
            if self._base is not None and self._base.version == head:
                return self._base
            self._on_new_head()
            self._journal.activity(Activity.WAITING, f"downloading version {head.number}")
            try:
                factors = self._link.call(
                    partial(self._fetch, AdapterDownload(head, self._link.plan, self._acceptance))
                )
            except VersionNotFound as error:
                logger.info("%s; asking for the head again", error.message)
                self._link.pause(VERSION_GONE_SECONDS)
                continue
            except VersionRefused as error:
                self._refused(head, error)
                continue
            self._base = BaseAdapter(version=head, factors=factors)
            self._journal.pulled(head)
            return self._base

    def _refused(self, head: GlobalVersion, error: VersionRefused) -> None:
        if self._acceptance is None or not self._acceptance.holds_any:
            raise error
        logger.warning("%s; asking again in %g s (%s)", error.message, REFUSED_SECONDS, error.reason)
        self._journal.activity(Activity.WAITING, f"version {head.number} is refused: {error.reason}")
        self._journal.retried(error)
        self._link.pause(REFUSED_SECONDS)

    def _wait_for_newer(self, head: GlobalVersion, wait_while: Callable[[GlobalVersion], bool]) -> None:
        self._journal.waits_for_version(head)
        newest = head
        while newest == head and wait_while(head):
            poll = partial(self._client.global_version, after=head.number, wait_seconds=WAIT_SECONDS)
            newest = self._link.call(poll).head

    def _head(self) -> GlobalVersion:
        if self._base is None:
            return self._link.call(self._client.global_version).head
        # says what is held and waits for nothing: how far agents lag behind is one of the fleet's figures
        poll = partial(self._client.global_version, after=self._base.version.number)
        try:
            return poll().head
        except UnknownAgent:
            return self._link.call(poll).head  # registers again first
        except (Unavailable, InvariantBroken) as error:
            self._link.pause(0)  # leaves when stopping: the failure is then our own doing
            logger.warning("%s; training goes on from version %d", error.message, self._base.version.number)
            self._journal.retried(error)
            return self._base.version

    def _fetch(self, download: AdapterDownload) -> Factors:
        with self._journal.downloading(download.version):
            self._client.download(download)
            return download.finish()
