"""The caller's certificate as gRPC hands it over: read once per certificate, then remembered."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from alignfed.errors import IdentityMissing
from alignfed.identity import Identity, identity_of
from coordinator.authority.certificates import key_digest
from coordinator.service.rpc.types import Context

CAPACITY = 20_000
"""Certificates remembered; each takes about two kilobytes."""
_CERTIFICATE = "x509_pem_cert"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a connection's certificate says is calling; the handshake has proved that its key is held.

    Attributes:
        identity: Whom it names.
        key_sha256: What names its key.
        expires_at: When it expires, in Unix seconds: a connection may outlive it.
    """

    identity: Identity
    key_sha256: str
    expires_at: float


class CertificateReader:
    """Reads callers' certificates."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Caller] = OrderedDict()

    def caller(self, context: Context) -> Caller:
        """Return who calls.

        Raises:
            IdentityMissing: The connection has no client certificate, or one that names nobody.
        """
        shown = context.auth_context().get(_CERTIFICATE)
        if not shown:
            raise IdentityMissing(
                "this coordinator knows callers by their certificates and none was shown: join with `alignfed-agent "
                "join`, or give an operator's --tls-certificate and --tls-key"
            )
        pem = bytes(next(iter(shown)))
        known = self._known.get(pem)
        if known is None:
            known = self._known[pem] = _read(pem)
            if len(self._known) > CAPACITY:
                self._known.popitem(last=False)
        return known


def _read(pem: bytes) -> Caller:
    certificate = x509.load_pem_x509_certificate(pem)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        uris = []
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise IdentityMissing("the certificate's key is not ECDSA P-256: use one that `alignfed ca` or a join made")
    return Caller(
        identity=identity_of(uris), key_sha256=key_digest(key), expires_at=certificate.not_valid_after_utc.timestamp()
    )
