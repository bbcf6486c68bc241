"""Which versions the agent loads: signed ones of the federation that follow the last it accepted, over restarts too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from alignfed.errors import RequestInvalid, SignatureInvalid
from alignfed.plain import PlainValueError, from_plain
from alignfed.version_keys import VersionKeys
from alignfed.version_manifest import (
    Identity,
    SignedManifest,
    VersionManifest,
    check_describes,
    check_follows,
    decode,
)
from edge_agent.domain import GlobalVersion
from edge_agent.outbox.durable import replace_json


class Acceptance:
    """Verifies versions and remembers the last accepted one.

    Args:
        keys: The accepted keys.
        federation: The agent's federation.
        file: Where the last accepted manifest is kept.

    Raises:
        RequestInvalid: The file is damaged.
    """

    def __init__(self, keys: VersionKeys, *, federation: str, file: Path) -> None:
        self._keys = keys
        self._federation = federation
        self._file = file
        self._last = _load(file)

    @property
    def holds_any(self) -> bool:
        """Whether a version was ever accepted."""
        return self._last is not None

    def check(self, version: GlobalVersion, signed: SignedManifest | None) -> None:
        """Check a version that is about to be downloaded or loaded.

        Raises:
            VersionUnsigned, SignatureInvalid: It is not signed with an accepted key.
            ManifestForeign: What was signed is another version.
            VersionReplayed, ManifestChainBroken: It does not follow the last accepted one.
        """
        self._verified(version, signed)

    def accept(self, version: GlobalVersion, signed: SignedManifest | None) -> None:
        """Check a version again and remember it, durably; from now on nothing older is accepted.

        Raises:
            VersionRefused: As `check`.
            DiskFull: There is no space; the version is not accepted.
            RequestInvalid: The file cannot be written.
        """
        manifest = self._verified(version, signed)
        if manifest == self._last:
            return
        assert signed is not None
        replace_json(self._file, dataclasses.asdict(signed))
        self._last = manifest

    def _verified(self, version: GlobalVersion, signed: SignedManifest | None) -> VersionManifest:
        manifest = self._keys.verify(signed)
        identity = Identity(epoch=version.epoch, number=version.number, digest=version.digest)
        check_describes(manifest, federation=self._federation, version=identity)
        if self._last is not None:
            check_follows(manifest, self._last)
        return manifest


def _load(file: Path) -> VersionManifest | None:
    """Return the last accepted manifest. It was verified before it was written; its key may have been retired since."""
    if not file.exists():
        return None
    try:
        return decode(from_plain(SignedManifest, json.loads(file.read_text("utf-8"))).manifest)
    except (OSError, ValueError, RecursionError, PlainValueError, SignatureInvalid) as error:
        raise RequestInvalid(
            f"{file} is damaged ({error}): remove it, and the next signed version is accepted whatever came before"
        ) from error
