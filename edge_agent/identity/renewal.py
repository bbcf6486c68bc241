"""Renewing the certificate before it expires, in the background."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from alignfed.errors import AlignFedError
from edge_agent.identity.folder import IdentityFolder

LOOK_SECONDS = 3600.0
"""The certificate is looked at this often at least: clocks are set, and machines are suspended."""
RETRY_SECONDS = 300.0

logger = logging.getLogger(__name__)


class Renews(Protocol):
    """What renewal needs of a client."""

    def renew_certificate(self, signing_request: bytes) -> bytes:
        """Return a new PEM certificate."""
        ...

    def reconnect(self) -> None:
        """Show the new certificate from the next call on."""
        ...


class Renewal:
    """Owns a thread that renews the certificate after two thirds of its life, and tries again until it has.

    Args:
        folder: The identity.
        client: Asks the coordinator, and is told to reconnect.
        stop: Ends the thread, once set.
        rng: Spreads a fleet that joined together.
        on_renewed: Told when the new certificate ends, in Unix seconds.
    """

    def __init__(
        self,
        folder: IdentityFolder,
        client: Renews,
        *,
        stop: threading.Event,
        rng: random.Random,
        on_renewed: Callable[[float], None],
    ) -> None:
        self._folder = folder
        self._client = client
        self._stop = stop
        self._rng = rng
        self._on_renewed = on_renewed
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._on_renewed(self._folder.validity().ends_at)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread is over, if it was started; set the event before."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        wait_seconds = 0.0
        while not self._stop.wait(max(0.0, min(wait_seconds, LOOK_SECONDS))):
            try:
                wait_seconds = self._due_in()
                if wait_seconds <= 0:
                    self._renew()
            except AlignFedError as error:
                wait_seconds = RETRY_SECONDS * self._rng.uniform(0.5, 1.0)
                if not self._stop.is_set():
                    logger.warning("the certificate could not be renewed yet: %s (%s)", error.message, error.reason)

    def _due_in(self) -> float:
        validity = self._folder.validity()
        spread = (validity.ends_at - validity.renew_at()) * self._rng.uniform(0.0, 0.2)
        return validity.renew_at() + spread - time.time()

    def _renew(self) -> None:
        self._folder.renew(self._client.renew_certificate(self._folder.signing_request()))
        self._client.reconnect()
        ends_at = self._folder.validity().ends_at
        self._on_renewed(ends_at)
        logger.info("certificate renewed, good for %.1f days", (ends_at - time.time()) / 86_400)
