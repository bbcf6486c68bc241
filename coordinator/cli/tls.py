"""How commands connect with TLS: whom they trust, and who they are where a coordinator asks for it."""

from __future__ import annotations

import dataclasses
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from alignfed.errors import RequestInvalid

if TYPE_CHECKING:
    import grpc


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """PEM files of an encrypted connection: the authority to trust, and a certificate to show, with its key."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return what a gRPC channel needs.

        Raises:
            RequestInvalid: A file cannot be read.
        """
        import grpc  # takes longer to load than --help may

        key, certificate = (None if file is None else _read(file) for file in (self.key, self.certificate))
        return grpc.ssl_channel_credentials(_read(self.ca), key, certificate)

    def authority(self) -> bytes:
        """Return the PEM certificate to trust.

        Raises:
            RequestInvalid: The file cannot be read.
        """
        return _read(self.ca)

    def context(self) -> ssl.SSLContext:
        """Return what a plain TLS connection needs.

        Raises:
            OSError: A file cannot be read, or is not in PEM form.
        """
        context = ssl.create_default_context(cafile=str(self.ca))
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


def client_tls(ca: Path | None, certificate: Path | None, key: Path | None) -> ClientTls | None:
    """Return the files of an encrypted connection; None for a plain one.

    Raises:
        RequestInvalid: Some files are given and others that belong to them are not.
    """
    if (certificate is None) != (key is None) or (certificate is not None and ca is None):
        raise RequestInvalid("--tls-certificate and --tls-key must be given together, and --tls-ca with them")
    return None if ca is None else ClientTls(ca=ca, certificate=certificate, key=key)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise RequestInvalid(f"the TLS file {file} cannot be read ({error.strerror}): name another") from error
