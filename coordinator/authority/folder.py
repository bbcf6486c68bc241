"""The folder of a deployment's authorities, which `alignfed ca init` makes.

    root.pem root-key.pem            signs coordinators' and operators' certificates; the key never leaves the operator
    agents.pem agents-key.pem        signs agents' certificates; coordinators hold the key, to let agents in
    coordinator.pem coordinator-key.pem
    operators/NAME.pem operators/NAME-key.pem

Two authorities, because coordinators are on the internet: whoever breaks into one can let agents in, but cannot make an
operator. Agents know the coordinator by `root.pem`.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from pathlib import Path

from alignfed.errors import RequestInvalid
from alignfed.identity import Identity, Kind, Role
from alignfed.plan import AGENT_ID
from coordinator.authority.certificates import (
    Authority,
    Issued,
    issue_client,
    issue_server,
    key_pem,
    load_authority,
    make_authority,
)

AUTHORITY_DAYS = 3650.0
SERVER_DAYS = 365.0
OPERATOR_DAYS = 365.0

ROOT, AGENTS, COORDINATOR = "root", "agents", "coordinator"
FIRST_OPERATOR = "admin"


class AuthorityFolder:
    """Files of a deployment's authorities.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def root_certificate(self) -> Path:
        """Whom agents and operators trust, and who signs operators."""
        return self.path / f"{ROOT}.pem"

    def certificate(self, name: str) -> Path:
        """Return the certificate file of `root`, `agents`, `coordinator`, or of an operator as `operators/NAME`."""
        return self.path / f"{name}.pem"

    def key(self, name: str) -> Path:
        """Return the key file that belongs to a certificate."""
        return self.path / f"{name}-key.pem"

    def create(self, hosts: Sequence[str]) -> None:
        """Make both authorities, the coordinator's certificate for `hosts`, and the first operator, an admin.

        Raises:
            RequestInvalid: The folder holds authorities already, or a host is malformed.
        """
        for name in (ROOT, AGENTS):
            if self.certificate(name).exists() or self.key(name).exists():
                raise RequestInvalid(
                    f"{self.path} holds authorities already: making new ones would shut out every agent and operator. "
                    "Name another folder, or delete this one first"
                )
        now = _now()
        root = make_authority("AlignFed root", days=AUTHORITY_DAYS, now=now)
        agents = make_authority("AlignFed agents", days=AUTHORITY_DAYS, now=now)
        server = issue_server(root, hosts, days=SERVER_DAYS, now=now)  # before anything is written: hosts may be wrong
        for name, authority in ((ROOT, root), (AGENTS, agents)):
            self._write(name, Issued(certificate=authority.certificate_pem(), key=key_pem(authority.key)))
        self._write(COORDINATOR, server)
        self.add_operator(FIRST_OPERATOR, Role.ADMIN, days=OPERATOR_DAYS)

    def renew_server(self, hosts: Sequence[str], *, days: float) -> None:
        """Make the coordinator a new key and certificate; one that runs takes it up by itself.

        Raises:
            RequestInvalid: A host is malformed, or the folder holds no root key.
        """
        self._write(COORDINATOR, issue_server(self._authority(ROOT), hosts, days=days, now=_now()))

    def add_operator(self, name: str, role: Role, *, days: float) -> Path:
        """Make an operator's key and certificate, and return the certificate's file.

        Raises:
            RequestInvalid: The name is malformed, or the folder holds no root key.
        """
        if not AGENT_ID.fullmatch(name):
            raise RequestInvalid(f"operator name {name!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
        identity = Identity(kind=Kind.OPERATOR, name=name, role=role)
        self._write(f"operators/{name}", issue_client(self._authority(ROOT), identity, days=days, now=_now()))
        return self.certificate(f"operators/{name}")

    def _authority(self, name: str) -> Authority:
        return load_authority(read_pem(self.certificate(name)), read_pem(self.key(name)))

    def _write(self, name: str, issued: Issued) -> None:
        file = self.certificate(name)
        try:
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _replace(
                self.key(name), issued.key, mode=0o600
            )  # first: a coordinator that reloads waits for a matching pair
            _replace(file, issued.certificate, mode=0o644)
        except OSError as error:
            raise RequestInvalid(f"{file} cannot be written ({error.strerror}): name another folder") from error


def read_pem(file: Path) -> bytes:
    """Return a PEM file's bytes.

    Raises:
        RequestInvalid: It cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise RequestInvalid(
            f"cannot read {str(file)!r} ({error.strerror}): name a file that `alignfed ca` wrote"
        ) from error


def _replace(file: Path, content: bytes, *, mode: int) -> None:
    """Write a file that is never open to others, not even while it is written, and never half there."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        os.fchmod(descriptor, mode)
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(file)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
