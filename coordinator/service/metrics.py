"""What one coordinator process counts. Labels come from closed sets; an agent id is never one of them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_RPC_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
VERSION_BUCKETS = (0, 1, 2, 4, 8, 16, 32, 64)


class ServiceMetrics:
    """The service's metrics, registered once with the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.rpc_duration_seconds = Histogram(
            "alignfed_rpc_server_duration_seconds",
            "Time from an RPC's start to its end; long polls and watches last as long as their client wants.",
            ["method", "code"],
            buckets=_RPC_BUCKETS,
            registry=registry,
        )
        self.uploads = Counter(
            "alignfed_uploads_total",
            "Uploads by outcome: accepted, duplicate, rejected_* by reason, aborted by the client, failed, or the "
            "temporary reason they were turned away for. The federation is empty when it does not exist.",
            ["federation", "outcome"],
            registry=registry,
        )
        self.upload_bytes = Counter(
            "alignfed_upload_bytes_total", "Payload bytes stored.", ["federation"], registry=registry
        )
        self.uploads_in_progress = Gauge(
            "alignfed_uploads_in_progress", "Uploads being served, those in line not included.", registry=registry
        )
        self.download_bytes = Counter(
            "alignfed_download_bytes_total", "Adapter bytes sent.", ["federation"], registry=registry
        )
        self.delta_staleness_versions = Histogram(
            "alignfed_delta_staleness_versions",
            "Head minus base version of a delta.",
            ["federation", "stage"],
            buckets=VERSION_BUCKETS,
            registry=registry,
        )
        self.agent_version_lag_versions = Histogram(
            "alignfed_agent_version_lag_versions",
            "Head minus the version an agent holds, when it polls.",
            ["federation"],
            buckets=VERSION_BUCKETS,
            registry=registry,
        )
        self.store_command_seconds = Histogram(
            "alignfed_store_command_duration_seconds",
            "Time of one call to the store's server.",
            ["op"],
            registry=registry,
        )
