"""What an agent tells Prometheus, on a registry of its own. No agent id is a label: a scrape knows its target."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STEP_BUCKETS_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)
"""From a tiny model on a GPU to a large one on a small CPU."""

DELTA_OUTCOMES = ("made", "acknowledged", "merged", "rejected", "discarded", "resent", "dropped")
OUTBOX_STATES = ("pending", "acknowledged")


class AgentMetrics:
    """Owns the metrics of one agent.

    Args:
        registry: Where they are registered.
        federation: Value of the `federation` label.
    """

    def __init__(self, registry: CollectorRegistry, *, federation: str) -> None:
        self.registry = registry
        self._federation = federation
        label = ["federation"]
        self._deltas = Counter(
            "alignfed_agent_deltas", "Deltas by what came of them.", [*label, "outcome"], registry=registry
        )
        self._steps = Histogram(
            "alignfed_agent_training_step_seconds",
            "Duration of one optimiser step.",
            label,
            buckets=STEP_BUCKETS_SECONDS,
            registry=registry,
        )
        self._loss = Gauge("alignfed_agent_training_loss", "Loss of the last step.", label, registry=registry)
        self._outbox = Gauge(
            "alignfed_agent_outbox_deltas", "Deltas in the outbox.", [*label, "state"], registry=registry
        )
        self._outbox_bytes = Gauge(
            "alignfed_agent_outbox_bytes", "Payload bytes of the deltas in the outbox.", label, registry=registry
        )
        self._version = Gauge("alignfed_agent_base_version", "Global version trained from.", label, registry=registry)
        self._uploaded = Counter(
            "alignfed_agent_upload_bytes", "Payload bytes sent, resends included.", label, registry=registry
        )
        self._downloaded = Counter("alignfed_agent_download_bytes", "Adapter bytes received.", label, registry=registry)
        self._retries = Counter(
            "alignfed_agent_retries", "Calls tried again, by the reason of the failure.", [*label, "reason"],
            registry=registry,
        )  # fmt: skip

        self._paced = Counter(
            "alignfed_agent_paced_seconds",
            "Time that the coordinator asked to wait before another delta.",
            label,
            registry=registry,
        )

        self._certificate = Gauge(
            "alignfed_agent_certificate_expiry_timestamp_seconds",
            "When the agent's certificate ends; absent where it has not joined. Renewed after two thirds of its life.",
            label,
            registry=registry,
        )

        self._epsilon = Gauge(
            "alignfed_agent_privacy_epsilon",
            "Privacy loss of all private training on this agent's rows, at its --dp-delta; absent without it.",
            label,
            registry=registry,
        )

    def privacy(self, epsilon: float) -> None:
        """Record the privacy loss so far."""
        self._epsilon.labels(self._federation).set(epsilon)

    def certificate_expiry(self, at: float) -> None:
        """Record when the agent's certificate ends, in Unix seconds."""
        self._certificate.labels(self._federation).set(at)

    def paced(self, seconds: float) -> None:
        """Count time that the coordinator asked to wait."""
        self._paced.labels(self._federation).inc(seconds)

    def delta(self, outcome: str) -> None:
        """Count a delta by one of `DELTA_OUTCOMES`."""
        self._deltas.labels(self._federation, outcome).inc()

    def step(self, *, seconds: float, loss: float) -> None:
        """Record one optimiser step."""
        self._steps.labels(self._federation).observe(seconds)
        self._loss.labels(self._federation).set(loss)

    def outbox(self, *, pending: int, acknowledged: int, held_bytes: int) -> None:
        """Record how full the outbox is."""
        self._outbox_bytes.labels(self._federation).set(held_bytes)
        self._outbox.labels(self._federation, "pending").set(pending)
        self._outbox.labels(self._federation, "acknowledged").set(acknowledged)

    def base_version(self, number: int) -> None:
        """Record the version trained from."""
        self._version.labels(self._federation).set(number)

    def uploaded(self, nbytes: int) -> None:
        """Count payload bytes sent."""
        self._uploaded.labels(self._federation).inc(nbytes)

    def downloaded(self, nbytes: int) -> None:
        """Count adapter bytes received."""
        self._downloaded.labels(self._federation).inc(nbytes)

    def retry(self, reason: str) -> None:
        """Count a call that is tried again."""
        self._retries.labels(self._federation, reason).inc()
