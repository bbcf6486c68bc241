"""What an agent's identity says of settings that nobody gave."""

from __future__ import annotations

import logging
from collections.abc import Set
from pathlib import Path
from typing import Any

from cryptography import x509

from alignfed.errors import RequestInvalid
from alignfed.join_token import read_join_token
from edge_agent.identity.folder import IdentityFolder
from edge_agent.identity.joining import join

logger = logging.getLogger(__name__)


def identified(values: dict[str, Any], *, given: Set[str]) -> dict[str, Any]:
    """Return settings of `alignfed-agent run`, completed by the identity in the state directory, if there is one.

    Joins first when a token file is named and the agent has not joined; that file may be gone by the next start.

    Args:
        values: Settings by name, with `join_token_file`, which is taken out.
        given: Names of those that somebody has set: the identity gives way to them.

    Raises:
        RequestInvalid: No federation is named, the agent's id is not the one that it joined under, or the certificate
            to show is an operator's.
        AlignFedError: Joining failed.
    """
    values = dict(values)
    _check_not_an_operators(values["tls_certificate"])
    token_file: Path | None = values.pop("join_token_file")
    folder = IdentityFolder(values["state_dir"])
    if token_file is not None and (not folder.has_joined or folder.has_expired):
        joined = join(read_join_token(token_file), values["state_dir"], agent_id=values["agent_id"])
        logger.info("joined %s as agent %s", joined.coordinator, joined.agent_id)
    if folder.has_expired:
        raise RequestInvalid(
            f"the certificate in {folder.path} has expired, as it does when an agent is away for weeks: ask the "
            "operator for a new token and join again with `alignfed-agent join`; nothing in the outbox is lost"
        )
    if folder.has_joined:
        values |= _from_identity(folder, values, given=given)
    if not values["federation"]:
        raise RequestInvalid("name the federation to join with --federation: its operator knows it")
    return values


def _check_not_an_operators(file: Path | None) -> None:
    """Refuse an operator's certificate: commands of both kinds read the same variables of a shell."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes()) if file is not None else None
        extensions = certificate.extensions if certificate is not None else x509.Extensions([])
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return  # nobody's; what is wrong with the file is told when it is used
    if any(
        uri.startswith("urn:alignfed:operator:") for uri in names.get_values_for_type(x509.UniformResourceIdentifier)
    ):
        raise RequestInvalid(
            f"{file} is an operator's certificate, and agents show their own: leave --tls-certificate out, and unset "
            "ALIGNFED_TLS_CA, ALIGNFED_TLS_CERTIFICATE and ALIGNFED_TLS_KEY in this shell"
        )


def _from_identity(folder: IdentityFolder, values: dict[str, Any], *, given: Set[str]) -> dict[str, Any]:
    joined = folder.joined()
    if values["agent_id"] not in (None, joined.agent_id):
        raise RequestInvalid(
            f"{folder.path} is the identity of agent {joined.agent_id!r}, not of {values['agent_id']!r}: leave "
            "--agent-id out, or name another --state-dir"
        )
    found: dict[str, Any] = {"agent_id": joined.agent_id}
    if "coordinator" not in given:
        found["coordinator"] = joined.coordinator
    if not values["federation"]:
        found["federation"] = joined.federation
    if values["tls_ca"] is None:
        tls = folder.tls()
        found |= {"tls_ca": tls.ca, "tls_certificate": tls.certificate, "tls_key": tls.key}
    if values["version_key"] is None:
        found["version_key"] = folder.version_keys
    return found
