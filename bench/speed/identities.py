"""Identities of a deployment on this machine, as `alignfed ca` and a join make them, without either."""

from __future__ import annotations

import datetime
from pathlib import Path

from alignfed.identity import Identity, Kind
from coordinator.authority.certificates import issue_client, load_authority
from coordinator.authority.folder import AGENTS, FIRST_OPERATOR, AuthorityFolder
from coordinator.cli.tls import ClientTls
from edge_agent.domain import TlsFiles

_DAYS = 2.0


class Identities:
    """Makes authorities in a folder, and certificates by them.

    Args:
        folder: Where to; must not hold any yet.
        federation: What its agents may join.
    """

    def __init__(self, folder: Path, federation: str) -> None:
        self.folder = folder
        self._federation = federation
        self._files = AuthorityFolder(folder)
        self._files.create(["127.0.0.1"])
        name = f"operators/{FIRST_OPERATOR}"
        self.admin = ClientTls(
            ca=self._files.root_certificate, certificate=self._files.certificate(name), key=self._files.key(name)
        )

    def agent(self, agent_id: str) -> TlsFiles:
        """Make an agent's key and certificate."""
        authority = load_authority(self._files.certificate(AGENTS).read_bytes(), self._files.key(AGENTS).read_bytes())
        identity = Identity(kind=Kind.AGENT, name=agent_id, federations=frozenset({self._federation}))
        issued = issue_client(authority, identity, days=_DAYS, now=datetime.datetime.now(datetime.UTC))
        certificate, key = self.folder / f"{agent_id}.pem", self.folder / f"{agent_id}-key.pem"
        certificate.write_bytes(issued.certificate)
        key.write_bytes(issued.key)
        return TlsFiles(ca=self._files.root_certificate, certificate=certificate, key=key)
