"""When the served certificate expires."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from alignfed.errors import RequestInvalid


def certificate_expiry(file: Path) -> float:
    """Return when the first certificate of a PEM chain expires, in Unix seconds: from then on clients refuse it.

    Raises:
        RequestInvalid: The file cannot be read or is not a chain of certificates.
    """
    try:
        chain = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError) as error:
        raise RequestInvalid(
            f"cannot read TLS certificate {str(file)!r} ({error}): give a chain of certificates in PEM form"
        ) from error
    return min(certificate.not_valid_after_utc.timestamp() for certificate in chain)
