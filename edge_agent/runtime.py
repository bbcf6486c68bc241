"""One agent process: puts the parts together, runs the loop, and ends it cleanly."""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from alignfed import __version__
from alignfed.addresses import is_loopback
from alignfed.base_model import locate
from alignfed.errors import RankMismatch, RequestInvalid
from alignfed.exposition import new_registry, serve_metrics
from alignfed.layout import delta_layout
from alignfed.plan import FEDERATION_NAME, FederationPlan
from alignfed.settings import parse_listen
from alignfed.tracing.export import tracing
from alignfed.tracing.spans import Tracer
from alignfed.version_keys import load_version_keys
from edge_agent.acceptance import Acceptance
from edge_agent.agent import Agent, LoopSettings
from edge_agent.domain import Capabilities, TlsFiles, Totals
from edge_agent.identity.folder import IdentityFolder
from edge_agent.identity.renewal import Renewal
from edge_agent.journal import Journal
from edge_agent.metrics import AgentMetrics
from edge_agent.outbox.outbox import DEFAULT_MAX_BYTES, Outbox
from edge_agent.outbox.uploader import Uploader
from edge_agent.pace import Pace
from edge_agent.privacy.settings import DpSettings
from edge_agent.privacy.start import kept_private
from edge_agent.state import StateDirectory, check_agent_id
from edge_agent.status import Activity, AgentStatus, StatusFile
from edge_agent.stopping import Interrupted, stop_on_signals
from edge_agent.training.base_model import check_base_model
from edge_agent.training.trainer import Trainer
from edge_agent.versions import VersionSource
from edge_agent.wire.client import CoordinatorClient
from edge_agent.wire.link import Link

MakeTrainer = Callable[[FederationPlan, Path], Trainer]
"""Builds the training loop from the plan and the directory of the checked base model."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything an agent process needs to know.

    Attributes:
        coordinator: `host:port` of the agents' service.
        federation: Which federation to join.
        agent_id: None to use the state directory's, made up at the first start.
        base_model: Directory or hub name; None for the plan's.
        state_dir: Identity, outbox and counters; one per agent.
        tls_ca: PEM file of the authority to trust; None for plain text.
        tls_certificate: PEM file that tells who the agent is, for coordinators that ask; with `tls_key`.
        tls_key: Its private key.
        version_key: PEM file of the public keys that versions must be signed with; None takes any version.
        device: What to tell the coordinator of the device.
        memory_bytes: The same, of its memory.
        tier: Operator-chosen label of the machine's speed class.
        examples: Rows of data held, as far as known.
        slowdown: Pretend to be a machine this many times slower.
        max_deltas: Stop after this many deltas; None to go on for ever.
        max_pending: Stop training while so many deltas wait to be uploaded.
        max_outbox_bytes: Bytes of deltas kept; beyond it the oldest that are not uploaded are dropped.
        train_rank: Leading LoRA components to train and upload, for a small device; None for all.
        privacy: How private training is; None for not. The trainer that is made must be told too.
        status_file: Where to write what the agent does; None for nowhere.
        metrics_listen: `host:port` of `/metrics`; empty for none.
    """

    coordinator: str
    federation: str
    agent_id: str | None = None
    base_model: str | None = None
    state_dir: Path = Path(".alignfed/agent")
    tls_ca: Path | None = None
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    version_key: Path | None = None
    device: str = "cpu"
    memory_bytes: int = 0
    tier: str = ""
    examples: int = 0
    slowdown: float = 1.0
    max_deltas: int | None = None
    max_pending: int = 8
    max_outbox_bytes: int = DEFAULT_MAX_BYTES
    train_rank: int | None = None
    privacy: DpSettings | None = None
    status_file: Path | None = None
    metrics_listen: str = ""

    def capabilities(self) -> Capabilities:
        """Return what the agent says of itself."""
        return Capabilities(
            device=self.device,
            memory_bytes=self.memory_bytes,
            software_version=__version__,
            tier=self.tier,
            examples=self.examples,
        )

    def tls(self) -> TlsFiles | None:
        """Return the files of an encrypted connection, or None for plain text."""
        if self.tls_ca is None:
            return None
        return TlsFiles(ca=self.tls_ca, certificate=self.tls_certificate, key=self.tls_key)

    def acceptance(self, directory: StateDirectory) -> Acceptance | None:
        """Return what verifies versions, or None without keys; said aloud unless all of it stays on this machine.

        Raises:
            RequestInvalid: The keys cannot be used, or what the state directory remembers is damaged.
        """
        if self.version_key is not None:
            keys = load_version_keys(self.version_key)
            return Acceptance(keys, federation=self.federation, file=directory.accepted_version)
        if not is_loopback(parse_listen(self.coordinator)[0]):
            logger.warning(
                "versions are not verified: whoever serves %s can make this agent train from any adapter; "
                "ask the federation's operators for their public key and set version-key",
                self.coordinator,
            )
        return None

    def validate(self) -> None:
        """Check what can be checked before anything starts.

        Raises:
            RequestInvalid: Names the setting and what it must be.
        """
        if not FEDERATION_NAME.fullmatch(self.federation):
            raise RequestInvalid(f"federation {self.federation!r} must be 1 to 63 lowercase letters, digits or hyphens")
        if self.agent_id is not None:
            check_agent_id(self.agent_id)
        if (self.tls_certificate is None) != (self.tls_key is None) or (self.tls_key is not None and not self.tls_ca):
            raise RequestInvalid("tls-certificate and tls-key must be set together, and tls-ca with them")
        if not 1.0 <= self.slowdown <= 10_000.0:
            raise RequestInvalid(f"slowdown {self.slowdown} must be 1 to 10000")
        if self.max_pending < 1 or (self.max_deltas is not None and self.max_deltas < 1):
            raise RequestInvalid("max-pending and max-deltas must be at least 1")
        if self.train_rank is not None and self.train_rank < 1:
            raise RequestInvalid(f"train-rank {self.train_rank} must be at least 1")

    def check_against(self, plan: FederationPlan) -> None:
        """Check what can be checked once the plan is known.

        Raises:
            RequestInvalid: The plan takes no deltas of rank `train_rank`, or one does not fit into the outbox.
        """
        try:
            delta_bytes = delta_layout(plan, self.train_rank or plan.lora.rank).total_bytes
        except RankMismatch as error:
            raise RequestInvalid(f"train-rank {self.train_rank} will not do: {error.message}") from error
        if delta_bytes > self.max_outbox_bytes:
            raise RequestInvalid(
                f"a delta of this federation has {delta_bytes} bytes, more than max-outbox-bytes "
                f"({self.max_outbox_bytes}): give the outbox room for one at least"
            )


class AgentProcess:
    """One agent from start to end.

    Args:
        settings: Validated here.
        make_trainer: Builds the training loop, once the plan is known and the base model is checked.
        tracer: Makes spans; None for none.
    """

    def __init__(self, settings: AgentSettings, make_trainer: MakeTrainer, *, tracer: Tracer | None = None) -> None:
        settings.validate()
        self._settings = settings
        self._make_trainer = make_trainer
        self._tracer = tracer
        self._stop = threading.Event()
        self._cancel: list[Callable[[], None]] = []
        self._failure: BaseException | None = None

    def stop(self) -> None:
        """End the run soon, from any thread: within a training step, and without waiting for uploads. Idempotent."""
        self._stop.set()
        for cancel in list(self._cancel):
            cancel()

    def run(self) -> Totals:
        """Run until stopped, or until `max_deltas` are made and uploaded.

        Returns:
            What the agent has made so far, over all its runs.

        Raises:
            RequestInvalid, PlanInvalid: Settings are wrong.
            AlignFedError: The coordinator rejects the agent, or its base model or data will not do.
        """
        settings = self._settings
        with ExitStack() as stack:
            directory = stack.enter_context(
                StateDirectory(settings.state_dir, federation=settings.federation, agent_id=settings.agent_id)
            )
            metrics = AgentMetrics(new_registry("agent"), federation=settings.federation)
            if settings.metrics_listen:
                port, stop_serving = serve_metrics(metrics.registry, settings.metrics_listen)
                stack.callback(stop_serving)
                logger.info("serving metrics on port %d", port)
            status = StatusFile(
                settings.status_file, AgentStatus(agent_id=directory.state.agent_id, federation=settings.federation)
            )
            stack.callback(status.update, state=Activity.STOPPED, detail="")
            logger.info("agent %s of federation %s", directory.state.agent_id, settings.federation)
            with suppress(Interrupted):
                self._work(directory, status, metrics)
            if self._failure is not None:
                raise self._failure
            return directory.state.totals

    def _work(self, directory: StateDirectory, status: StatusFile, metrics: AgentMetrics) -> None:
        """Connect the parts and run the loop; the upload thread is over when this returns."""
        settings, state = self._settings, directory.state
        outbox = Outbox(directory.outbox, max_bytes=settings.max_outbox_bytes)
        journal = Journal(directory=directory, status=status, metrics=metrics, outbox=outbox, tracer=self._tracer)
        rng = random.Random()  # noqa: S311  # jitter, not a secret
        pace = Pace(rng)
        client = CoordinatorClient(
            settings.coordinator,
            federation=settings.federation,
            agent_id=state.agent_id,
            tls=settings.tls(),
            traffic=metrics,
            on_pace=pace.advised,
        )
        link = Link(
            client=client,
            capabilities=settings.capabilities(),
            stop=self._stop,
            on_retry=journal.retried,
            rng=rng,
        )
        uploader = Uploader(client=client, link=link, outbox=outbox, journal=journal, on_failure=self._fail)
        loop = LoopSettings(
            seed=state.seed,
            slowdown=settings.slowdown,
            max_deltas=settings.max_deltas,
            max_pending=settings.max_pending,
            train_rank=settings.train_rank,
        )
        versions = VersionSource(
            client=client,
            link=link,
            journal=journal,
            on_new_head=uploader.settle_soon,
            acceptance=settings.acceptance(directory),
        )
        agent = Agent(loop, versions=versions, link=link, outbox=outbox, journal=journal, pace=pace)
        renewal = self._renewal(client, rng, metrics)
        with client:
            self._cancel = [client.cancel, outbox.wake]
            try:
                plan = link.register()
                settings.check_against(plan)
                uploader.start()
                if renewal is not None:
                    renewal.start()
                trainer = kept_private(
                    self._prepare(plan, directory),
                    settings.privacy,
                    directory=directory,
                    journal=journal,
                    persist=link.call,
                )
                agent.run(trainer)
            finally:
                self.stop()
                uploader.join()
                if renewal is not None:
                    renewal.join()

    def _renewal(self, client: CoordinatorClient, rng: random.Random, metrics: AgentMetrics) -> Renewal | None:
        """Return what renews the certificate, where the agent has joined and shows that certificate."""
        folder = IdentityFolder(self._settings.state_dir)
        if not folder.has_joined or self._settings.tls_key != folder.tls().key:
            return None
        return Renewal(folder, client, stop=self._stop, rng=rng, on_renewed=metrics.certificate_expiry)

    def _prepare(self, plan: FederationPlan, directory: StateDirectory) -> Trainer:
        """Return the training loop on the base model, which is proved to be the federation's."""
        model_dir = locate(plan.base_model, self._settings.base_model)
        check_base_model(model_dir, plan.base_model, cache=directory.digests)
        return self._make_trainer(plan, model_dir)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self.stop()


def run_agent(settings: AgentSettings, make_trainer: MakeTrainer) -> Totals:
    """Run an agent in the main thread until SIGTERM, SIGINT or `max_deltas`; see `AgentProcess.run`.

    It is traced where `OTEL_*` variables say so; see `alignfed.tracing.export`.
    """
    with tracing("agent") as tracer:
        process = AgentProcess(settings, make_trainer, tracer=tracer)
        with stop_on_signals(process.stop):
            return process.run()
