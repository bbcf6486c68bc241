"""Keys that sign version manifests (Ed25519, PEM files), and verification."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from alignfed.errors import RequestInvalid, SignatureInvalid, VersionUnsigned
from alignfed.version_manifest import SignedManifest, VersionManifest, decode

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FINGERPRINT_CHARS = 32
_MAX_FILE_BYTES = 64 * 1024
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class SigningKey:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.fingerprint = fingerprint(key.public_key())

    def sign(self, manifest: VersionManifest) -> SignedManifest:
        """Return the manifest with this key's signature."""
        content = manifest.encode()
        return SignedManifest(
            manifest=content, signature=self._key.sign(content.encode()).hex(), key_fingerprint=self.fingerprint
        )


class VersionKeys:
    """The public keys that are accepted, at least one.

    Args:
        keys: By fingerprint.
    """

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @property
    def fingerprints(self) -> list[str]:
        """Fingerprints of the keys."""
        return list(self._keys)

    def verify(self, signed: SignedManifest | None) -> VersionManifest:
        """Return the manifest, once it is proved that the holder of an accepted key signed it.

        Raises:
            VersionUnsigned: There is none.
            SignatureInvalid: The key is not accepted, the signature not its own, or the manifest not readable.
        """
        from cryptography.exceptions import InvalidSignature

        if signed is None:
            raise VersionUnsigned(
                "the version is not signed, and this program accepts signed ones only: start every worker and "
                "coordinator with --signing-key-file, then publish a signed version, or run without --version-key"
            )
        key = self._keys.get(signed.key_fingerprint)
        if key is None:
            raise SignatureInvalid(
                f"the version is signed with key {signed.key_fingerprint[:FINGERPRINT_CHARS]!r}, accepted are "
                f"{', '.join(self._keys)}: add the operators' public key to the --version-key file if it is theirs"
            )
        try:
            key.verify(bytes.fromhex(signed.signature), signed.manifest.encode())
        except (InvalidSignature, ValueError) as error:
            raise SignatureInvalid(
                f"the signature of the version's manifest is not one of key {signed.key_fingerprint}: it was changed "
                "since it was signed; it is not loaded"
            ) from error
        return decode(signed.manifest)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return how a public key is named: the first half of the SHA-256 of its 32 raw bytes, in hex."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:FINGERPRINT_CHARS]


def load_signing_key(file: Path) -> SigningKey:
    """Return the private key in a PEM file.

    Raises:
        RequestInvalid: It cannot be read, others may read it, or it is not an Ed25519 key without a passphrase.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            content = stream.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise RequestInvalid(f"the signing key {file} cannot be read ({error.strerror}): {_MAKE_ONE}") from error
    if mode & stat.S_IRWXO:
        raise RequestInvalid(f"the signing key {file} is open to every user of this machine: chmod o= {file}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # what they say may quote the file
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise RequestInvalid(f"{file} is not an Ed25519 private key in PEM without a passphrase: {_MAKE_ONE}")
    return SigningKey(key)


def load_version_keys(file: Path) -> VersionKeys:
    """Return the public keys in a PEM file, one after the other.

    Raises:
        RequestInvalid: It cannot be read, has no key, or one that is not Ed25519.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_FILE_BYTES)
    except OSError as error:
        raise RequestInvalid(f"the version keys {file} cannot be read ({error.strerror}): name another file") from error
    found: dict[str, Ed25519PublicKey] = {}
    for block in _PUBLIC_KEY.findall(content):
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise RequestInvalid(f"{file} has a public key that is not Ed25519: {_MAKE_ONE}")
        found[fingerprint(key)] = key
    if not found:
        raise RequestInvalid(f"{file} has no public key in PEM: put in what `alignfed keys new` prints")
    return VersionKeys(found)


def public_pem(key: Ed25519PublicKey) -> str:
    """Return a public key in PEM, as `load_version_keys` reads it."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def new_signing_key(file: Path) -> str:
    """Write a new private key to a new file that only its owner may read, and return the public key in PEM.

    Raises:
        RequestInvalid: The file exists, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError as error:
        raise RequestInvalid(f"{file} exists, and no key is overwritten: name another file") from error
    except OSError as error:
        raise RequestInvalid(f"{file} cannot be written ({error.strerror}): name another file") from error
    return public_pem(key.public_key())


_MAKE_ONE = "make one with `alignfed keys new FILE`"
