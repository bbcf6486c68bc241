"""Keys and signed histories for tests."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from alignfed.version_keys import SigningKey, VersionKeys, fingerprint, public_pem
from alignfed.version_manifest import Branch, Identity, VersionManifest


class KeyPair:
    """A new key, and the keys of those who accept it alone."""

    def __init__(self) -> None:
        self.private = Ed25519PrivateKey.generate()
        self.signing = SigningKey(self.private)
        self.accepted = VersionKeys({fingerprint(self.private.public_key()): self.private.public_key()})

    def write_public(self, file: Path, *others: KeyPair) -> Path:
        """Write the public key, and those of `others`, as operators hand them out."""
        file.write_text("".join(public_pem(pair.private.public_key()) for pair in (self, *others)))
        return file


def digest(name: str) -> str:
    """Return 64 hex digits that stand for a payload."""
    return (name.encode().hex() * 64)[:64]


def initial(*, federation: str = "fed", epoch: int = 0, number: int = 0, name: str = "0") -> VersionManifest:
    """Return a manifest that begins a branch."""
    return VersionManifest(
        federation=federation,
        version=Identity(epoch=epoch, number=number, digest=digest(name)),
        kind="initial",
        branch=Branch(epoch=epoch, number=number),
        parent=None,
        parent_manifest=None,
        served_digest=digest(name),
        created_at_microseconds=1_700_000_000_000_000,
    )


def child(parent: VersionManifest, *, epoch: int, name: str | None = None, rollback: bool = False) -> VersionManifest:
    """Return the manifest of a merge onto `parent`, or of a rollback to it, one number later."""
    number = parent.version.number + 1
    return VersionManifest(
        federation=parent.federation,
        version=Identity(epoch=epoch, number=number, digest=digest(name or str(number))),
        kind="rollback" if rollback else "merge",
        branch=Branch(epoch=epoch, number=number) if rollback else parent.branch,
        parent=parent.version,
        parent_manifest=parent.digest,
        served_digest=digest(name or str(number)),
        created_at_microseconds=parent.created_at_microseconds + 1,
    )
