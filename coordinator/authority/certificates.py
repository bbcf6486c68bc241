"""Authorities and the certificates that they sign: ECDSA P-256, X.509 v3, names as `alignfed.identity` has them."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from alignfed.errors import RequestInvalid
from alignfed.identity import Identity, uris_of

_BACKDATED = datetime.timedelta(minutes=5)
"""Certificates are valid from a little before they are made: devices' clocks are not all alike."""
_MAX_REQUEST_BYTES = 16_384
_MAX_COMMON_NAME_CHARS = 64


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate that may sign others, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> bytes:
        """Return the certificate as PEM."""
        return certificate_pem(self.certificate)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A certificate and the key that was made for it, both PEM."""

    certificate: bytes
    key: bytes


def make_authority(name: str, *, days: float, now: datetime.datetime) -> Authority:
    """Make an authority that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name)
    builder = _builder(subject, subject, key.public_key(), days=days, now=now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return Authority(certificate=builder.sign(key, hashes.SHA256()), key=key)


def load_authority(certificate: bytes, key: bytes) -> Authority:
    """Return the authority of two PEM files.

    Raises:
        RequestInvalid: They are none, or do not belong together.
    """
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise RequestInvalid(
            "an authority's certificate or key is not in PEM form: name the files of `alignfed ca`"
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        raise RequestInvalid(
            "an authority's certificate and key do not belong together: name files of one `alignfed ca`"
        )
    return Authority(certificate=loaded, key=private)


def issue_server(authority: Authority, hosts: Sequence[str], *, days: float, now: datetime.datetime) -> Issued:
    """Make a key and a certificate for a server that is reached under `hosts`, DNS names and addresses.

    Raises:
        RequestInvalid: There is no host, or one is neither a DNS name nor an address.
    """
    if not hosts:
        raise RequestInvalid("a server's certificate needs a host name or an address: name those that clients dial")
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(hosts[0]), authority.certificate.subject, key.public_key(), days=days, now=now)
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    builder = _leaf(builder, ExtendedKeyUsageOID.SERVER_AUTH)
    return Issued(certificate=certificate_pem(builder.sign(authority.key, hashes.SHA256())), key=key_pem(key))


def issue_client(authority: Authority, identity: Identity, *, days: float, now: datetime.datetime) -> Issued:
    """Make a key and a certificate for a caller."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _sign_client(authority, identity, key.public_key(), days=days, now=now)
    return Issued(certificate=certificate_pem(certificate), key=key_pem(key))


def answer_request(
    authority: Authority, request: bytes, identity: Identity, *, days: float, now: datetime.datetime
) -> bytes:
    """Return a certificate (PEM) for the key of a signing request; nothing else that it asks for is granted.

    Raises:
        RequestInvalid: It is no signing request of a P-256 key, or its signature is wrong.
    """
    return certificate_pem(_sign_client(authority, identity, key_of_request(request), days=days, now=now))


def key_of_request(request: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key that a PEM signing request proves to hold.

    Raises:
        RequestInvalid: It is no signing request of a P-256 key, or its signature is wrong.
    """
    advice = "the signing request is no PEM request of an ECDSA P-256 key that it is signed with: update the agent"
    if len(request) > _MAX_REQUEST_BYTES:
        raise RequestInvalid(advice)
    try:
        parsed = x509.load_pem_x509_csr(request)
        key, sound = parsed.public_key(), parsed.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        raise RequestInvalid(advice) from None
    if not sound or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestInvalid(advice)
    return key


def key_digest(key: ec.EllipticCurvePublicKey) -> str:
    """Return what names a public key: SHA-256, in hex, of its SubjectPublicKeyInfo."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, PKCS #8, not encrypted: files that hold it are for their owner alone."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _sign_client(
    authority: Authority, identity: Identity, key: ec.EllipticCurvePublicKey, *, days: float, now: datetime.datetime
) -> x509.Certificate:
    builder = _builder(_name(identity.name), authority.certificate.subject, key, days=days, now=now)
    names = [x509.UniformResourceIdentifier(uri) for uri in uris_of(identity)]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _leaf(builder, ExtendedKeyUsageOID.CLIENT_AUTH).sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, days: float, now: datetime.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _leaf(builder: x509.CertificateBuilder, purpose: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
    return builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_MAX_COMMON_NAME_CHARS])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError:
        raise RequestInvalid(f"{host!r} is neither a DNS name nor an address: give what clients dial") from None
