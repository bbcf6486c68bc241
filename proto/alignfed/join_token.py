"""Join tokens: what an operator hands to a machine so that it may become an agent.

One line of text, `alignfed-join-1.` and base64url JSON: where to join, the authority that the coordinator is known by,
and a secret. Whoever holds it may join while it lasts, so it travels as a secret does: in a file, over a safe channel.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import json
from pathlib import Path

from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain

_HEAD = "alignfed-join-1."
_MOST_CHARS = 16_384
_MALFORMED = "this is no join token: give the whole line that `alignfed enroll` printed, or a file that holds it"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What a machine needs in order to join.

    Attributes:
        token_id: Names the token at the coordinator; no secret.
        secret: Proves that the holder was let in.
        join: `host:port` at which coordinators let agents in.
        coordinator: `host:port` of the agents' port.
        agent: The agent's id, or a beginning of it and `*`.
        federation: The federation to join; empty when it may join several.
        authority: PEM certificate by which the coordinator is known.
        version_keys: PEM Ed25519 keys, one of which signs global versions; none where they are not signed.
    """

    token_id: str
    secret: str
    join: str
    coordinator: str
    agent: str
    federation: str
    authority: str
    version_keys: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Return what may be logged: never the secret."""
        return f"JoinToken(token_id={self.token_id!r}, agent={self.agent!r})"

    def to_text(self) -> str:
        """Return the line that carries the token."""
        plain = json.dumps(dataclasses.asdict(self), separators=(",", ":")).encode()
        return _HEAD + base64.urlsafe_b64encode(plain).decode().rstrip("=")


def secret_digest(secret: str) -> str:
    """Return what a coordinator keeps of a secret: its SHA-256 in hex. Secrets are random, so no salt is due."""
    return hashlib.sha256(secret.encode()).hexdigest()


def parse_join_token(text: str) -> JoinToken:
    """Return the token that a line carries.

    Raises:
        RequestInvalid: It is none; the message does not repeat it.
    """
    text = text.strip()
    if not text.startswith(_HEAD) or len(text) > _MOST_CHARS:
        raise RequestInvalid(_MALFORMED)
    body = text.removeprefix(_HEAD)
    try:
        plain = json.loads(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
        return from_plain(JoinToken, plain)
    except (binascii.Error, ValueError, RecursionError, PlainValueError):
        raise RequestInvalid(_MALFORMED) from None


def read_join_token(file: Path) -> JoinToken:
    """Return the token in a file.

    Raises:
        RequestInvalid: The file cannot be read, or holds none.
    """
    try:
        return parse_join_token(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RequestInvalid(
            f"the join token file {file} cannot be read: name one that `alignfed enroll` wrote"
        ) from error
