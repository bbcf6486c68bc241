"""What one coordinator process counts. Labels come from closed sets; an agent id is never one of them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from coordinator.staleness_metrics import VERSION_BUCKETS, staleness_histogram
from coordinator.store_metrics import StoreMetrics

_RPC_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_OVERHEAD_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ServiceMetrics:
    """The service's metrics, registered once with the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.rpc_duration_seconds = Histogram(
            "alignfed_rpc_server_duration_seconds",
            "Time from an RPC's start to its end; long polls and watches last as long as their client wants.",
            ["method", "code"],
            buckets=_RPC_BUCKETS,
            registry=registry,
        )
        self.poll_overhead_seconds = Histogram(
            "alignfed_poll_overhead_seconds",
            "Duration of an answered poll minus the time it deliberately waited for a new version.",
            ["federation"],
            buckets=_OVERHEAD_BUCKETS,
            registry=registry,
        )
        self.uploads = Counter(
            "alignfed_uploads_total",
            "Uploads by outcome. The federation is empty when it does not exist.",
            ["federation", "outcome"],
            registry=registry,
        )
        self.upload_bytes = Counter(
            "alignfed_upload_bytes_total", "Payload bytes stored.", ["federation"], registry=registry
        )
        self.uploads_in_progress = Gauge(
            "alignfed_uploads_in_progress", "Open uploads, those that wait for memory not included.", registry=registry
        )
        self.uploads_averted = Counter(
            "alignfed_uploads_averted_total",
            "Uploads that did not begin because the agent asked first and would have been refused.",
            ["federation", "reason"],
            registry=registry,
        )
        self.paced_answers = Counter(
            "alignfed_paced_answers_total",
            "Answers that asked an agent to come back later, because more deltas wait than are merged soon.",
            ["federation"],
            registry=registry,
        )
        self.download_bytes = Counter(
            "alignfed_download_bytes_total", "Adapter bytes sent.", ["federation"], registry=registry
        )
        self.delta_staleness_versions = staleness_histogram(registry)
        self.agent_version_lag_versions = Histogram(
            "alignfed_agent_version_lag_versions",
            "Head minus the version an agent holds, when its poll arrives.",
            ["federation"],
            buckets=VERSION_BUCKETS,
            registry=registry,
        )
        self.store = StoreMetrics(registry)
        self._certificate_expiry: Gauge | None = None

    def show_certificate_expiry(self, at: float) -> None:
        """Show when the certificate that is served expires, in Unix seconds. Only with TLS.

        Without TLS there is no such metric, rather than one that says 1970.
        """
        if self._certificate_expiry is None:
            self._certificate_expiry = Gauge(
                "alignfed_tls_certificate_expiry_timestamp_seconds",
                "When the first certificate of the served chain expires; absent without TLS.",
                registry=self._registry,
            )
        self._certificate_expiry.set(at)
