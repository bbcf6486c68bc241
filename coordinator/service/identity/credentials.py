"""A server's TLS: the files of its certificate and of whom it trusts, read again whenever they change."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates

from alignfed.errors import AlignFedError, RequestInvalid
from coordinator.authority.folder import read_pem

logger = logging.getLogger(__name__)

Stamp = tuple[tuple[int, int, int], ...]


class ServerTls:
    """TLS of one listening address. Handshakes look whether files have changed; a broken change is logged and waits.

    Args:
        certificate: PEM chain.
        key: PEM private key of its first certificate.
        client_authority: PEM certificates that must have signed every client's; None to ask for none.
        on_change: Told when files were read, after the first time too.

    Raises:
        RequestInvalid: A file cannot be read, is not PEM, or certificate and key do not belong together.
    """

    def __init__(
        self, *, certificate: Path, key: Path, client_authority: Path | None, on_change: Callable[[], None]
    ) -> None:
        self._certificate = certificate
        self._key = key
        self._authority = client_authority
        self._on_change = on_change
        self._lock = threading.Lock()  # gRPC's threads ask
        self._stamp = self._stamped()
        self._current = self._read()
        on_change()

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a gRPC server needs."""
        return grpc.dynamic_ssl_server_credentials(
            self._current, self._newest, require_client_authentication=self._authority is not None
        )

    def _newest(self) -> grpc.ServerCertificateConfiguration:
        """Return what the next handshake uses; called by gRPC for each."""
        with self._lock:
            try:
                stamp = self._stamped()
                if stamp != self._stamp:
                    self._stamp = stamp  # a broken file is told of once
                    self._current = self._read()
                    self._on_change()
                    logger.info("certificate read again file=%s", self._certificate)
            except AlignFedError as error:
                logger.error("certificate not read again, the last one stays: %s", error.message)
            return self._current

    def _stamped(self) -> Stamp:
        return tuple(_stamp(file) for file in (self._certificate, self._key, self._authority) if file is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key = read_pem(self._certificate), read_pem(self._key)
        _check_pair(certificate, key, self._certificate)
        roots = read_pem(self._authority) if self._authority is not None else None
        return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=roots)


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _check_pair(certificate: bytes, key: bytes, file: Path) -> None:
    try:
        chain = load_pem_x509_certificates(certificate)
        private = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:
        raise RequestInvalid(
            f"the TLS certificate {str(file)!r} or its key is not in PEM form ({error}): name a certificate chain and "
            "its private key, not encrypted"
        ) from None
    if private.public_key() != chain[0].public_key():
        raise RequestInvalid(f"the TLS certificate {str(file)!r} and the key do not belong together: name the pair")
