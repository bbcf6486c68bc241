"""What the publisher of a version says of it: one canonical form in bytes, which is signed, and how versions follow.

The canonical form is JSON in ASCII with sorted keys and no white space; there is no fraction in it, so that every
language writes the same bytes. What is verified is the bytes that arrived; what is read from them must give the same
bytes again.

Pure: keys and signatures are in `alignfed.version_keys`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from alignfed.errors import ManifestChainBroken, ManifestForeign, SignatureInvalid, VersionReplayed
from alignfed.plain import PlainValueError, from_plain

FORMAT = "alignfed.version-manifest.v1"
"""Stands in every manifest, so that a signature of it is never one of anything else."""

MAX_MANIFEST_CHARS = 4096
"""Of a manifest: several times what the longest name and the largest numbers take."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SignedManifest:
    """A manifest in its canonical form, its Ed25519 signature in hex, and which key made it: nothing verified yet."""

    manifest: str
    signature: str
    key_fingerprint: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Identity of a version: epoch, number, and the SHA-256 of the adapter that agents train from, in hex."""

    epoch: int
    number: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """Where a branch of a federation's history begins: epoch and number of its first version.

    That is the initial version, a rollback, a restore, or the first version that was signed at all.
    """

    epoch: int
    number: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class VersionManifest:
    """All that is signed of a version.

    Attributes:
        federation: Its name.
        version: The version's identity; its digest is the training adapter's.
        kind: `initial`, `merge` or `rollback`; a restore from a backup is a rollback to the backup's head.
        branch: Where its branch begins; what a rollback leaves behind is another branch.
        parent: The version it was made from; None for the initial one.
        parent_manifest: SHA-256 of the parent's manifest, in hex; None when nobody signed the parent.
        served_digest: SHA-256 of the served adapter's payload, in hex.
        created_at_microseconds: Since the Unix epoch.
    """

    federation: str
    version: Identity
    kind: str
    branch: Branch
    parent: Identity | None
    parent_manifest: str | None
    served_digest: str
    created_at_microseconds: int
    format: str = FORMAT

    def encode(self) -> str:
        """Return the canonical form, ASCII."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical form, in hex: what a child's `parent_manifest` says."""
        return digest_of(self.encode())


def digest_of(manifest: str) -> str:
    """Return the SHA-256 of a manifest's canonical form, in hex."""
    return hashlib.sha256(manifest.encode()).hexdigest()


def decode(content: str) -> VersionManifest:
    """Return the manifest that `content` is the canonical form of.

    Raises:
        SignatureInvalid: It is not one.
    """
    if len(content) > MAX_MANIFEST_CHARS:
        raise SignatureInvalid(f"a version manifest has {len(content)} characters, more than any that AlignFed writes")
    try:
        manifest = from_plain(VersionManifest, json.loads(content))
        canonical = manifest.format == FORMAT and manifest.encode() == content
    except (ValueError, RecursionError, PlainValueError) as error:
        raise SignatureInvalid(f"a version manifest cannot be read ({error}): update this AlignFed") from error
    if not canonical:
        raise SignatureInvalid("a version manifest is not in the form that this AlignFed signs: update this AlignFed")
    return manifest


def check_describes(manifest: VersionManifest, *, federation: str, version: Identity) -> None:
    """Check that a genuine manifest is about this version of this federation.

    Raises:
        ManifestForeign: It is about another one.
    """
    if (manifest.federation, manifest.version) != (federation, version):
        signed = manifest.version
        raise ManifestForeign(
            f"version {version.number} of {federation} comes with the manifest of version {signed.number} "
            f"(epoch {signed.epoch}) of {manifest.federation}: whoever serves it replaced one of them; it is not loaded"
        )


def check_follows(manifest: VersionManifest, last: VersionManifest) -> None:
    """Check that a genuine manifest is of the last accepted version, or of one published after it.

    Epochs only rise, from commit to commit. On one branch numbers rise too. Another branch may be followed only to a
    rollback or restore that was signed after the last accepted version, which `branch` tells even of its descendants.
    Of versions that were never seen between the two the links are not checked: only the direct child's is.

    Raises:
        VersionReplayed: It is older.
        ManifestChainBroken: It is on another branch, and no newer rollback leads there.
    """
    if manifest == last:
        return
    if manifest.branch != last.branch and manifest.branch.epoch > last.version.epoch:
        return
    new, old = manifest.version, last.version
    same_branch = manifest.branch == last.branch
    if (new.epoch, new.number) < (old.epoch, old.number) or (same_branch and new.number < old.number):
        raise VersionReplayed(
            f"the head is version {new.number} (epoch {new.epoch}), older than version {old.number} (epoch "
            f"{old.epoch}), which was accepted before, and no signed rollback leads there. {_REMEDY}"
        )
    if not same_branch or new.number == old.number or not _is_child_or_later(manifest, last):
        raise ManifestChainBroken(
            f"the head is version {new.number} (epoch {new.epoch}), which does not descend from version {old.number} "
            f"(epoch {old.epoch}), accepted before, and no signed rollback leads there. {_REMEDY}"
        )


_REMEDY = (
    "It is not loaded. If the operators restored a backup or the store lost versions, they publish a signed rollback "
    "(`alignfed rollback`); else somebody serves an old or forged history"
)


def _is_child_or_later(manifest: VersionManifest, last: VersionManifest) -> bool:
    """Return whether a later version of the same branch links to `last`, as far as its own manifest can tell."""
    if manifest.version.number > last.version.number + 1:
        return True
    return manifest.parent == last.version and manifest.parent_manifest == last.digest
