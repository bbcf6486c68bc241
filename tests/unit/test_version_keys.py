"""Signing keys and version keys: files, fingerprints, verification."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from alignfed.errors import RequestInvalid, SignatureInvalid, VersionUnsigned
from alignfed.version_keys import load_signing_key, load_version_keys, new_signing_key
from tests.support.signing import KeyPair, child, initial


def test_a_new_pair_signs_and_verifies(tmp_path: Path) -> None:
    public = new_signing_key(tmp_path / "key")
    (tmp_path / "public").write_text(public)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    key, keys = load_signing_key(tmp_path / "key"), load_version_keys(tmp_path / "public")
    assert keys.fingerprints == [key.fingerprint]
    assert keys.verify(key.sign(initial())) == initial()
    with pytest.raises(RequestInvalid, match="exists"):
        new_signing_key(tmp_path / "key")


def test_what_is_not_as_it_was_signed_is_refused() -> None:
    pair = KeyPair()
    signed = pair.signing.sign(initial())
    other = pair.signing.sign(child(initial(), epoch=1))
    for change in (
        {"manifest": signed.manifest.replace("fed", "fad")},
        {"manifest": other.manifest},
        {"manifest": signed.manifest + " "},
        {"manifest": signed.manifest + "\ud800"},
        {"signature": other.signature},
        {"signature": signed.signature[:-2]},
        {"signature": ""},
        {"signature": "no hex"},
    ):
        with pytest.raises(SignatureInvalid):
            pair.accepted.verify(dataclasses.replace(signed, **change))


def test_a_key_that_is_not_accepted_is_refused_also_under_an_accepted_name() -> None:
    pair, thief = KeyPair(), KeyPair()
    stolen = thief.signing.sign(initial())
    with pytest.raises(SignatureInvalid, match=thief.signing.fingerprint):
        pair.accepted.verify(stolen)
    with pytest.raises(SignatureInvalid):
        pair.accepted.verify(dataclasses.replace(stolen, key_fingerprint=pair.signing.fingerprint))


def test_unsigned_versions_are_refused() -> None:
    with pytest.raises(VersionUnsigned):
        KeyPair().accepted.verify(None)


def test_while_keys_change_both_are_accepted(tmp_path: Path) -> None:
    old, new = KeyPair(), KeyPair()
    keys = load_version_keys(old.write_public(tmp_path / "keys", new))
    assert keys.fingerprints == [old.signing.fingerprint, new.signing.fingerprint]
    for pair in (old, new):
        assert keys.verify(pair.signing.sign(initial())) == initial()


def test_a_signing_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    new_signing_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o604)
    with pytest.raises(RequestInvalid, match="chmod"):
        load_signing_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)  # a group of its own, as where secrets are mounted
    load_signing_key(tmp_path / "key")


def test_files_that_are_no_keys_are_refused_without_quoting_them(tmp_path: Path) -> None:
    pair, curve = KeyPair(), ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key"
    secret = "c2VjcmV0IHNlY3JldA"
    for content in (
        b"",
        b"\xff" * 100,
        f"-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n".encode(),
        curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        pair.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")),
    ):
        file.write_bytes(content)
        file.chmod(0o600)
        with pytest.raises(RequestInvalid) as failed:
            load_signing_key(file)
        assert secret not in failed.value.message
    file.write_bytes(curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(RequestInvalid, match="not Ed25519"):
        load_version_keys(file)
    new_signing_key(tmp_path / "private")
    with pytest.raises(RequestInvalid, match="no public key"):
        load_version_keys(tmp_path / "private")
    for load in (load_signing_key, load_version_keys):
        with pytest.raises(RequestInvalid, match="cannot be read"):
            load(tmp_path / "nothing")
