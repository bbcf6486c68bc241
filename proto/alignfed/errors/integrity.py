"""Versions that an agent does not load, since they are not what their publishers signed."""

from __future__ import annotations

from alignfed.errors.base import Rejected


class VersionRefused(Rejected):
    """A version is not one that the holders of the accepted keys have published after the last accepted one."""


class VersionUnsigned(VersionRefused):
    """Nobody signed the version."""

    reason = "VERSION_UNSIGNED"


class SignatureInvalid(VersionRefused):
    """The version's manifest is not signed by an accepted key, or is not as it was signed."""

    reason = "SIGNATURE_INVALID"


class ManifestForeign(VersionRefused):
    """The manifest is genuine, but of another version, federation or payload."""

    reason = "MANIFEST_FOREIGN"


class ManifestChainBroken(VersionRefused):
    """The version is on another branch than the last accepted one, and no signed rollback leads there."""

    reason = "MANIFEST_CHAIN_BROKEN"


class VersionReplayed(VersionRefused):
    """The version is older than the last accepted one."""

    reason = "VERSION_REPLAYED"
