"""Settings of one coordinator process: plain values, so that flags, environment and files can fill them."""

from __future__ import annotations

import dataclasses

from alignfed.addresses import is_loopback
from alignfed.errors import RequestInvalid
from alignfed.settings import parse_listen

MIB = 1 << 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """How a coordinator listens, and what it allows.

    Attributes:
        agent_listen: Address for agents; port 0 picks a free one.
        operator_listen: Address for operators; keep it off the agents' network.
        tls_certificate_file: PEM chain; empty for plaintext.
        tls_key_file: PEM private key of the certificate.
        agent_ca_file: PEM authority that must have signed every agent's certificate; due with TLS.
        agent_ca_key_file: Its key, for letting agents in and renewing their certificates; empty to do neither.
        operator_ca_file: PEM authority that must have signed every operator's certificate; due with TLS.
        join_listen: Address at which machines join, with TLS and `agent_ca_key_file`; empty for none.
        agent_certificate_days: How long the certificates of agents last; they renew them after two thirds.
        max_agent_requests_per_second: Requests of one agent, ten seconds' worth at once; 0 for no bound. This bound and
            the next two are for agents with identities, and of each coordinator by itself.
        max_agent_deltas_per_hour: Uploads of one agent that may begin; 0 for no bound.
        max_agent_bytes_per_hour: Payloads of one agent's uploads and downloads; 0 for no bound.
        signing_key_file: PEM private key that signs initial versions and rollbacks; empty to sign none.
        max_active_uploads: Uploads that move a chunk into the store at a time, beside those whose agents are slow.
        upload_memory_bytes: Memory of all open uploads; each may hold one chunk.
        max_waiting_uploads: Uploads that may wait for memory; each may fill one flow-control window (256 KiB).
        upload_wait_seconds: How long an upload without a deadline waits for memory.
        stalled_grace_seconds: While others wait for memory, uploads that send nothing for so long are ended; what they
            sent is kept.
        max_agent_uploads: Uploads of one agent open or waiting at a time.
        max_agent_deltas: Deltas of one agent that may be in the store unmerged, unfinished uploads included. An agent
            is always granted the deltas of one merge, and never more than are free.
        max_agent_bytes: The same in bytes.
        max_federation_bytes: Unmerged deltas of all agents of a federation in the store; `limits.max_queue_deltas` of
            its plan is the same in deltas.
        max_active_downloads: Downloads served at a time.
        progress_timeout_seconds: How long a stream may take for one message.
        store_timeout_seconds: How long one answer of the store may take.
        unary_timeout_seconds: Bound of every unary RPC, long-poll time not included.
        max_poll_wait_seconds: Longest long poll.
        store_reserve_ratio: Share of the store's memory that uploads leave free, so that merges can always be stored.
        head_reread_seconds: Heads are re-read this often in case an announcement was missed.
        queue_reread_seconds: How full queues and the store are is re-read this often.
        agent_record_seconds: How long a checked agent counts as known; a revocation made through another coordinator
            takes effect on polls that much later (uploads are checked again by the store).
        liveness_flush_seconds: Last-seen times are written this often.
        download_cache_bytes: Adapter parts kept in memory.
        max_adapter_bytes: Largest initial adapter of a new federation.
        max_calibration_bytes: Largest calibration set of a new federation.
        max_message_bytes: Largest request message: a chunk, or a header with a large manifest.
        max_connection_age_seconds: Connections are closed gracefully after this time, so that a fleet spreads over new
            coordinators; 0 for never.
        share_port: Let several processes listen on the same address (SO_REUSEPORT).
        drain_notice_seconds: Time between turning unhealthy and closing connections, for load balancers to notice.
        drain_seconds: Time for running RPCs to end before they are cut.
        store_patience_seconds: How long to wait for the store at start.
    """

    agent_listen: str = "127.0.0.1:7300"
    operator_listen: str = "127.0.0.1:7301"
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    agent_ca_file: str = ""
    agent_ca_key_file: str = ""
    operator_ca_file: str = ""
    join_listen: str = ""
    agent_certificate_days: float = 30.0
    max_agent_requests_per_second: float = 20.0
    max_agent_deltas_per_hour: float = 1000.0
    max_agent_bytes_per_hour: float = 32768.0 * MIB
    signing_key_file: str = ""
    max_active_uploads: int = 16
    upload_memory_bytes: int = 512 * MIB
    max_waiting_uploads: int = 256
    upload_wait_seconds: float = 120.0
    stalled_grace_seconds: float = 5.0
    max_agent_uploads: int = 8
    max_agent_deltas: int = 64
    max_agent_bytes: int = 4096 * MIB
    max_federation_bytes: int = 32768 * MIB
    store_reserve_ratio: float = 0.1
    max_active_downloads: int = 64
    progress_timeout_seconds: float = 30.0
    store_timeout_seconds: float = 30.0
    unary_timeout_seconds: float = 30.0
    max_poll_wait_seconds: float = 60.0
    head_reread_seconds: float = 5.0
    queue_reread_seconds: float = 2.0
    agent_record_seconds: float = 15.0
    liveness_flush_seconds: float = 5.0
    download_cache_bytes: int = 256 * MIB
    max_adapter_bytes: int = 4096 * MIB
    max_calibration_bytes: int = 64 * MIB
    max_message_bytes: int = 4 * MIB
    max_connection_age_seconds: float = 0.0
    share_port: bool = False
    drain_notice_seconds: float = 0.0
    drain_seconds: float = 30.0
    store_patience_seconds: float = 30.0

    @property
    def secure(self) -> bool:
        """Whether callers must show who they are; otherwise nothing but loopback is listened on."""
        return bool(self.tls_certificate_file or self.tls_key_file)

    def check(self) -> None:
        """Check that the settings agree with each other.

        Raises:
            RequestInvalid: A file of TLS is missing, or without TLS an address is not of loopback.
        """
        if not self.secure:
            for listen in (self.agent_listen, self.operator_listen):
                if not is_loopback(parse_listen(listen)[0]):
                    raise RequestInvalid(
                        f"{listen} can be reached from other machines, and without TLS anybody there could be any "
                        "agent or operator: make certificates with `alignfed ca init` and start with "
                        "--identity-dir, or listen on 127.0.0.1"
                    )
            return
        names = ("tls_certificate_file", "tls_key_file", "agent_ca_file", "operator_ca_file")
        missing = [f"--{name.replace('_', '-')}" for name in names if not getattr(self, name)]
        if missing:
            raise RequestInvalid(
                f"TLS needs {' and '.join(missing)} too: callers are known by their certificates. `alignfed ca init` "
                "makes all that is due, and --identity-dir names its folder"
            )
