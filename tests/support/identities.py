"""A deployment's authorities and the certificates of whoever a test needs, sound ones and others."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import grpc

from alignfed.identity import Identity, Kind, Role
from coordinator.authority.certificates import Authority, Issued, issue_client, load_authority, make_authority
from coordinator.authority.folder import AGENTS, COORDINATOR, ROOT, AuthorityFolder
from edge_agent.domain import TlsFiles

DAYS = 2.0


class Deployment:
    """Authorities in a folder, as `alignfed ca init` makes them.

    Args:
        folder: Where they are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = AuthorityFolder(folder)
        self.files.create(["127.0.0.1", "localhost"])
        self.root = (self.files.root_certificate).read_bytes()

    def settings(self, **further: Any) -> dict[str, Any]:
        """Return the coordinator's settings."""
        return {
            "tls_certificate_file": str(self.files.certificate(COORDINATOR)),
            "tls_key_file": str(self.files.key(COORDINATOR)),
            "agent_ca_file": str(self.files.certificate(AGENTS)),
            "agent_ca_key_file": str(self.files.key(AGENTS)),
            "operator_ca_file": str(self.files.certificate(ROOT)),
            "join_listen": "127.0.0.1:0",
        } | further

    def agent(self, name: str = "agent-1", *federations: str, life: float = DAYS, by: str = AGENTS) -> Issued:
        """Make an agent's certificate, signed by the agents' authority unless another one is named."""
        identity = Identity(kind=Kind.AGENT, name=name, federations=frozenset(federations or ("fed",)))
        return issue_client(self.authority(by), identity, days=life, now=_now())

    def operator(self, name: str = "olga", role: Role = Role.ADMIN, *, by: str = ROOT) -> Issued:
        """Make an operator's certificate."""
        return issue_client(
            self.authority(by), Identity(kind=Kind.OPERATOR, name=name, role=role), days=DAYS, now=_now()
        )

    def strangers_agent(self, name: str = "agent-1") -> Issued:
        """Make an agent's certificate that an authority of somebody else has signed."""
        identity = Identity(kind=Kind.AGENT, name=name, federations=frozenset({"fed"}))
        return issue_client(make_authority("AlignFed agents", days=DAYS, now=_now()), identity, days=DAYS, now=_now())

    def credentials(self, issued: Issued | None, *, root: bytes = b"") -> grpc.ChannelCredentials:
        """Return what a channel shows: a certificate, or none."""
        if issued is None:
            return grpc.ssl_channel_credentials(root or self.root)
        return grpc.ssl_channel_credentials(root or self.root, issued.key, issued.certificate)

    def tls_files(self, issued: Issued, folder: Path) -> TlsFiles:
        """Write a certificate for an agent's client."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "certificate.pem").write_bytes(issued.certificate)
        (folder / "key.pem").write_bytes(issued.key)
        return TlsFiles(ca=self.files.root_certificate, certificate=folder / "certificate.pem", key=folder / "key.pem")

    def authority(self, name: str) -> Authority:
        """Return one of the two authorities."""
        return load_authority(self.files.certificate(name).read_bytes(), self.files.key(name).read_bytes())


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
