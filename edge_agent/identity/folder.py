"""Where the agent's identity is kept: `identity` in its state directory.

key.pem                 the private key, made here, readable by its owner alone
certificate.pem         what the coordinator signed for it; replaced when it is renewed
authority.pem           whom the agent trusts to be the coordinator
version-keys.pem        who signs global versions; missing where nobody does
joined.json             where it joined: the coordinator, the federation, the agent's id
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain
from edge_agent.domain import TlsFiles
from edge_agent.outbox.durable import TEMPORARY_SUFFIX, replace_json, storing, sync_directory, write_synced

IDENTITY_NAME = "identity"
KEY, CERTIFICATE, AUTHORITY, VERSION_KEYS, JOINED = (
    "key.pem",
    "certificate.pem",
    "authority.pem",
    "version-keys.pem",
    "joined.json",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Where an agent has joined. `federation` is empty when it may take part in several."""

    agent_id: str
    coordinator: str
    federation: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """Since when a certificate is here and until when it is good, in Unix seconds.

    When it begins says nothing: authorities date it back, for devices whose clocks are behind.
    """

    kept_at: float
    ends_at: float

    def renew_at(self) -> float:
        """Return when to renew it: after two thirds of the time that it was good for when it came."""
        return self.kept_at + (self.ends_at - self.kept_at) * 2 / 3


class IdentityFolder:
    """One agent's identity on disk.

    Args:
        state_dir: The agent's state directory.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / IDENTITY_NAME

    @property
    def has_joined(self) -> bool:
        """Whether there is a certificate to show."""
        return (self.path / JOINED).exists()

    @property
    def has_expired(self) -> bool:
        """Whether the certificate is there and no longer good: the agent was away for too long."""
        return self.has_joined and self.validity().ends_at <= time.time()

    @property
    def version_keys(self) -> Path | None:
        """The file of keys that sign global versions; None where nobody does."""
        file = self.path / VERSION_KEYS
        return file if file.exists() else None

    def tls(self) -> TlsFiles:
        """Return the files of the connection to the coordinator."""
        return TlsFiles(ca=self.path / AUTHORITY, certificate=self.path / CERTIFICATE, key=self.path / KEY)

    def joined(self) -> Joined:
        """Return where the agent has joined.

        Raises:
            RequestInvalid: It has not, or the file is damaged.
        """
        file = self.path / JOINED
        try:
            return from_plain(Joined, json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, RecursionError, PlainValueError) as error:
            raise RequestInvalid(f"{file} is missing or damaged: join again with `alignfed-agent join`") from error

    def validity(self) -> Validity:
        """Return since when the certificate is here, and until when it is good.

        Raises:
            RequestInvalid: There is none, or it is damaged.
        """
        file = self.path / CERTIFICATE
        try:
            certificate = x509.load_pem_x509_certificate(file.read_bytes())
        except (OSError, ValueError) as error:
            raise RequestInvalid(f"{file} is missing or damaged: join again with `alignfed-agent join`") from error
        return Validity(kept_at=file.stat().st_mtime, ends_at=certificate.not_valid_after_utc.timestamp())

    def prepare(self) -> bytes:
        """Make a key unless there is one, and return a PEM signing request of it: repeated joins use the same key.

        Raises:
            RequestInvalid: The directory cannot be written, or the key in it is damaged.
            DiskFull: There is no space.
        """
        with storing(self.path):
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.path / KEY
        if not file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            self._replace(
                KEY,
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
        return self.signing_request()

    def signing_request(self) -> bytes:
        """Return a PEM signing request of the key; it names nobody, because the coordinator decides who this is.

        Raises:
            RequestInvalid: The key is missing or damaged.
        """
        file = self.path / KEY
        try:
            key = serialization.load_pem_private_key(file.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise RequestInvalid(f"{file} is missing or damaged: delete {self.path} and join again") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise RequestInvalid(f"{file} is no ECDSA key: delete {self.path} and join again")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "alignfed-agent")])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        return request.public_bytes(serialization.Encoding.PEM)

    def keep(self, joined: Joined, *, certificate: bytes, authority: bytes, version_keys: bytes) -> None:
        """Keep what joining brought; `joined.json` comes last, so that a crash leaves an agent that joins again."""
        self._replace(AUTHORITY, authority)
        self._replace(CERTIFICATE, certificate)
        if version_keys:
            self._replace(VERSION_KEYS, version_keys)
        replace_json(self.path / JOINED, dataclasses.asdict(joined))

    def renew(self, certificate: bytes) -> None:
        """Replace the certificate.

        Raises:
            RequestInvalid: It is no certificate of this agent's key; the old one stays.
        """
        self._check_own(certificate)
        self._replace(CERTIFICATE, certificate)

    def _check_own(self, certificate: bytes) -> None:
        try:
            new = x509.load_pem_x509_certificate(certificate).public_key()
            own = serialization.load_pem_private_key((self.path / KEY).read_bytes(), password=None).public_key()
        except (OSError, ValueError, TypeError) as error:
            raise RequestInvalid("the coordinator sent no certificate: update it, or this agent") from error
        if new != own:
            raise RequestInvalid("the coordinator sent a certificate of another key: the old one is kept")

    def _replace(self, name: str, content: bytes) -> None:
        """Replace a file in one step, durably, and never readable by others."""
        file = self.path / name
        temporary = file.with_name(name + TEMPORARY_SUFFIX)
        with storing(self.path):
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
            write_synced(temporary, content)
            temporary.replace(file)
        sync_directory(self.path)
