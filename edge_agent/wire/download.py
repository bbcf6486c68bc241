"""One adapter download, over as many attempts as it takes: what has arrived is kept, what arrives is checked."""

from __future__ import annotations

from alignfed.chunks import ChunkData, ChunkReceiver
from alignfed.codec import Factors, decode
from alignfed.errors import HeaderMissing, ManifestMismatch, PayloadDigestMismatch, VersionNotFound
from alignfed.layout import layout_of
from alignfed.plan import Encoding, FederationPlan
from alignfed.version_manifest import SignedManifest
from edge_agent.acceptance import Acceptance
from edge_agent.domain import GlobalVersion


class AdapterDownload:
    """Collects the chunks of one version's adapter in memory.

    Args:
        version: The wanted version.
        plan: Its manifest and chunk length.
        acceptance: Verifies what was signed of the version; None takes any.
    """

    def __init__(self, version: GlobalVersion, plan: FederationPlan, acceptance: Acceptance | None = None) -> None:
        self.version = version
        self._acceptance = acceptance
        self._signed: SignedManifest | None = None
        self._plan = plan
        self._total_bytes = layout_of(plan.tensors, Encoding.FP32).total_bytes
        self.restart()

    @property
    def offset(self) -> int:
        """How many bytes have arrived: where the next attempt starts."""
        return self._receiver.received_bytes

    @property
    def remaining_bytes(self) -> int:
        """How many bytes are missing."""
        return self._total_bytes - self.offset

    def restart(self) -> None:
        """Forget what has arrived."""
        self._announced = False
        self._payload = bytearray(self._total_bytes)
        self._receiver = ChunkReceiver(
            total_bytes=self._total_bytes,
            sha256=self.version.digest,
            chunk_bytes=self._plan.limits.chunk_bytes,
        )

    def begin(
        self, version: GlobalVersion, *, total_bytes: int, sha256: str, signed: SignedManifest | None = None
    ) -> None:
        """Check the header of an attempt, before anything of the payload is taken.

        Raises:
            VersionNotFound: The number names another version by now; ask for the head again.
            ManifestMismatch: The announced length is not the plan's.
            PayloadDigestMismatch: The announced digest is not the version's.
            VersionRefused: It is not what its publisher signed, or does not follow what was accepted before.
        """
        if version != self.version:
            raise VersionNotFound(
                f"version {self.version.number} is not the adapter it was: another history has replaced it"
            )
        if total_bytes != self._total_bytes:
            raise ManifestMismatch(
                f"version {version.number} has {total_bytes} bytes, the plan's adapter has {self._total_bytes}: "
                "restart the agent to get the plan again"
            )
        if sha256 != version.digest:
            raise PayloadDigestMismatch(f"version {version.number} is announced with another digest than its identity")
        if self._acceptance is not None:
            self._acceptance.check(version, signed)
            self._signed = signed
        self._announced = True

    def add(self, chunk: ChunkData) -> None:
        """Check and keep the next chunk.

        Raises:
            HeaderMissing: No header came first.
            ChunkOutOfOrder, PayloadOversized, PayloadTruncated, ChunkChecksumMismatch: As `ChunkReceiver.receive`.
        """
        if not self._announced:
            raise HeaderMissing("the coordinator sends an adapter without its header: update coordinator or agent")
        self._receiver.receive(chunk)
        self._payload[chunk.offset : chunk.offset + len(chunk.data)] = chunk.data

    def finish(self) -> Factors:
        """Return the adapter's factors, fp32 on the CPU, once every byte has arrived.

        Raises:
            PayloadTruncated: Bytes are missing; go on with another attempt.
            PayloadDigestMismatch: What arrived is not the version; everything was forgotten, start again.
            ManifestMismatch, NonFinite: The adapter is not what the plan says.
            VersionRefused: Another version was accepted in the meantime.
            DiskFull: There is no space to remember that the version is accepted; try again.
        """
        try:
            self._receiver.finish()
        except PayloadDigestMismatch:
            self.restart()
            raise
        if self._acceptance is not None:
            self._acceptance.accept(self.version, self._signed)
        return decode(self._payload, self._plan.tensors, Encoding.FP32)
