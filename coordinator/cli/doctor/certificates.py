"""Checks of TLS: whether a server's certificate is signed by the given authority, for its name, and for how long."""

from __future__ import annotations

import socket
import ssl
import time

from alignfed.addresses import is_loopback
from alignfed.settings import parse_listen
from coordinator.cli.doctor.findings import Finding, not_checked, ok, problem, warning
from coordinator.cli.tls import ClientTls

EXPIRY_WARNING_DAYS = 21
"""Time enough to get a new certificate to every coordinator."""

_EXPIRED, _NOT_YET, _WRONG_NAME, _WRONG_ADDRESS = 10, 9, 62, 64  # OpenSSL's X509_V_ERR_*
_DAY_SECONDS = 86_400.0


def check_certificate(check: str, address: str, tls: ClientTls | None, *, seconds: float) -> Finding:
    """Check the certificate that a server at an address shows; without an authority, that none is needed."""
    host, port = parse_listen(address)
    if tls is None:
        return _plain(check, address, host)
    try:
        context = tls.context()
    except OSError as error:
        found = f"{tls.ca} or the certificate to show is no PEM file of certificates ({error})"
        return problem(check, found, "give PEM files: the authority's, and the certificate with its key")
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return problem(check, f"{address}: {error.verify_message}", _advice(error, host))
    except OSError as error:
        return not_checked(check, f"{address} shows no certificate ({error})", "see the address's own check above")
    days = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / _DAY_SECONDS
    return judge_expiry(check, address, days)


def judge_expiry(check: str, address: str, days: float) -> Finding:
    """Judge the days that are left of a certificate that verifies."""
    found = f"{address}: signed by the given authority, for this name, valid for {days:.0f} days"
    if days < EXPIRY_WARNING_DAYS:
        return warning(check, found, "renew it (`alignfed ca server`): once it has expired nobody is let in")
    return ok(check, found)


def _plain(check: str, address: str, host: str) -> Finding:
    if is_loopback(host):
        return not_checked(check, f"{address} is on this machine and reached without TLS", "give --tls-ca to check TLS")
    advice = "anybody on the way can read and change what is sent: serve TLS (--identity-dir) and give --tls-ca"
    return warning(check, f"{address} is another machine, reached without TLS", advice)


def _advice(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == _EXPIRED:
        return "renew it with `alignfed ca server`: a coordinator that runs takes it up by itself"
    if error.verify_code == _NOT_YET:
        return "look at this machine's clock, or wait until the certificate is valid"
    if error.verify_code in (_WRONG_NAME, _WRONG_ADDRESS):
        return f"have a certificate made whose subjectAltName names {host}, or use the name that it is made for"
    return "give --tls-ca with the authority that signed it, and serve the whole chain in --tls-certificate-file"
