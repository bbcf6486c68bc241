"""Settings of the HTTP port, and the secret that lets people in."""

from __future__ import annotations

import dataclasses
import os
import stat
from pathlib import Path

from alignfed.errors import RequestInvalid

MIN_TOKEN_BYTES = 16
"""Shorter secrets could be guessed by trying."""
_MAX_TOKEN_BYTES = 4096


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """How the HTTP port is served.

    Attributes:
        listen: `host:port`; port 0 picks a free one, empty serves nothing.
        token_file: File with the secret for signing in to the status page; empty for a page that can only be read.
    """

    listen: str
    token_file: str = ""


def read_token(path: str) -> bytes:
    """Return the secret in a file, without white space around it.

    Raises:
        RequestInvalid: The file cannot be read, others may read it, or the secret is too short or too long.
    """
    try:
        with Path(path).open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            token = file.read(_MAX_TOKEN_BYTES + 1).strip()
    except OSError as error:
        raise RequestInvalid(
            f"cannot read the status token file {path} ({error}): correct status-token-file"
        ) from error
    if mode & stat.S_IRWXO:
        raise RequestInvalid(f"the status token file {path} is open to every user of this machine: chmod o= {path}")
    if not MIN_TOKEN_BYTES <= len(token) <= _MAX_TOKEN_BYTES:
        raise RequestInvalid(
            f"the status token in {path} has {len(token)} bytes, wanted are {MIN_TOKEN_BYTES} to {_MAX_TOKEN_BYTES}: "
            f"make one with `openssl rand -hex 32`"
        )
    return token
