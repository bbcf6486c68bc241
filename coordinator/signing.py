"""Signs versions: what a manifest says of a version and of its parent. Time and storage are the callers'."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from alignfed.version_keys import SigningKey, load_signing_key
from alignfed.version_manifest import Branch, Identity, VersionManifest, decode, digest_of
from coordinator.domain import AdapterKind, VersionId, VersionKind, VersionRecord


def signed(federation: str, version: VersionRecord, parent: VersionRecord | None, key: SigningKey) -> VersionRecord:
    """Return a version with its signed manifest, which also names the manifest of its parent.

    A merge goes on with the branch of its parent, if that is signed; every other version begins one.

    Args:
        federation: Its name.
        version: The version, with its identity.
        parent: The version it was made from; None for the initial one.
        key: The publisher's.

    Raises:
        SignatureInvalid: The parent's manifest cannot be read.
    """
    parent_manifest = parent.signed.manifest if parent is not None and parent.signed is not None else None
    branch = Branch(epoch=version.id.epoch, number=version.id.number)
    if version.kind is VersionKind.MERGE and parent_manifest is not None:
        branch = decode(parent_manifest).branch
    manifest = VersionManifest(
        federation=federation,
        version=_identity(version.id),
        kind=version.kind.value,
        branch=branch,
        parent=None if parent is None else _identity(parent.id),
        parent_manifest=None if parent_manifest is None else digest_of(parent_manifest),
        served_digest=version.blob(AdapterKind.SERVED).sha256,
        created_at_microseconds=round(version.created_at * 1e6),
    )
    return dataclasses.replace(version, signed=key.sign(manifest))


class Signer:
    """Signs every version of one process, or none when it has no key.

    Args:
        key: The key; None leaves versions unsigned.
    """

    def __init__(self, key: SigningKey | None = None) -> None:
        self._key = key

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the key; empty when there is none."""
        return "" if self._key is None else self._key.fingerprint

    def sign(self, federation: str, version: VersionRecord, parent: VersionRecord | None) -> VersionRecord:
        """Return the version, signed if this process signs; see `signed`."""
        return version if self._key is None else signed(federation, version, parent, self._key)


def signer_from(file: str | Path | None) -> Signer:
    """Return the signer with the key in `file`; one without a key for no file.

    Raises:
        RequestInvalid: The key cannot be used.
    """
    return Signer(load_signing_key(Path(file)) if file else None)


def _identity(version: VersionId) -> Identity:
    return Identity(epoch=version.epoch, number=version.number, digest=version.digest)
