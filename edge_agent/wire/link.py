"""Calls that are tried until they succeed: back-off, registering again, and stopping when told to."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from alignfed.errors import (
    AlignFedError,
    ChunkChecksumMismatch,
    ChunkOutOfOrder,
    InvariantBroken,
    ManifestMismatch,
    PayloadDigestMismatch,
    PayloadTruncated,
    Unavailable,
    UnknownAgent,
)
from alignfed.plan import FederationPlan
from edge_agent.domain import Capabilities, Registration
from edge_agent.stopping import Interrupted
from edge_agent.wire.backoff import delays, wait_seconds

TRANSFER_ERRORS = (ChunkChecksumMismatch, ChunkOutOfOrder, PayloadDigestMismatch, PayloadTruncated)
"""Damage on the way: the transfer is worth another try, from where it broke."""
TRANSFER_TRIES = 5
"""Damage that many times in a row is not the network's fault."""
QUIET_TRIES = 2
"""The first failures of a call are usual when a coordinator restarts; only further ones are worth a warning."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Registrar(Protocol):
    """What the link itself needs of a client."""

    def register(self, capabilities: Capabilities) -> Registration:
        """Join the federation."""
        ...


class Link:
    """Runs calls for the agent and its uploader; safe for both threads.

    Args:
        client: Registers.
        capabilities: Told at every registration.
        stop: Once set, waiting ends and calls raise `Interrupted`.
        on_retry: Told the failure before each new try.
        rng: Jitter.
    """

    def __init__(
        self,
        *,
        client: Registrar,
        capabilities: Capabilities,
        stop: threading.Event,
        on_retry: Callable[[AlignFedError], None],
        rng: random.Random,
    ) -> None:
        self._client = client
        self._capabilities = capabilities
        self._stop = stop
        self._on_retry = on_retry
        self._rng = rng
        self._plan: FederationPlan | None = None

    @property
    def plan(self) -> FederationPlan:
        """The newest plan; `register` comes first."""
        assert self._plan is not None
        return self._plan

    @property
    def stopping(self) -> bool:
        """Whether the agent was told to stop."""
        return self._stop.is_set()

    def register(self) -> FederationPlan:
        """Register, as often as it takes, and return the plan.

        Raises:
            Interrupted: The agent stops.
            UnknownFederation, AgentRevoked, PlanInvalid: Trying again would not help.
        """
        self._adopt(self._keep_trying(lambda: self._client.register(self._capabilities)).plan)
        return self.plan

    def call(self, operation: Callable[[], T]) -> T:
        """Run `operation` until it succeeds, and return what it returns.

        It is run again after an `Unavailable`, an `InvariantBroken` of the coordinator, a damaged transfer (a few
        times), and once the agent has registered again after an `UnknownAgent`.

        Raises:
            Interrupted: The agent stops.
            Rejected: Any other permanent rejection, as it came.
        """
        try:
            return self._keep_trying(operation)
        except UnknownAgent:
            logger.warning("the coordinator does not know this agent any more: registering again")
            self.register()
            return self._keep_trying(operation)

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Interrupted: The agent stops; at once.
        """
        if self._stop.wait(seconds):
            raise Interrupted

    def _keep_trying(self, operation: Callable[[], T]) -> T:
        waits = delays(self._rng)
        tries = damaged = 0
        while True:
            if self._stop.is_set():
                raise Interrupted
            try:
                return operation()
            except (Unavailable, InvariantBroken, *TRANSFER_ERRORS) as error:
                tries += 1
                damaged += isinstance(error, TRANSFER_ERRORS)
                if damaged >= TRANSFER_TRIES:
                    raise
                self._wait_after(error, next(waits), tries)

    def _wait_after(self, error: AlignFedError, delay: float, tries: int) -> None:
        if self._stop.is_set():  # the failure is our own doing
            raise Interrupted
        seconds = wait_seconds(delay, error)
        level = logging.WARNING if tries == QUIET_TRIES + 1 else logging.DEBUG if tries <= QUIET_TRIES else logging.INFO
        logger.log(level, "%s; trying again in %.1f s (%s)", error.message, seconds, error.reason)
        self._on_retry(error)
        self.pause(seconds)

    def _adopt(self, plan: FederationPlan) -> None:
        """Take over a plan; what the trainer was built from must not have changed."""
        old = self._plan
        if old is not None and (old.base_model, old.lora, old.tensors) != (plan.base_model, plan.lora, plan.tensors):
            raise ManifestMismatch(
                "the federation's base model or LoRA configuration has changed: restart the agent to follow it"
            )
        self._plan = plan
