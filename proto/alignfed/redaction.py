"""Hides secrets in texts that people get to see. Pure."""

from __future__ import annotations

import re

HIDDEN = "***"

_QUERY_SECRET = re.compile(
    r"(?P<name>[?&;][^=&;\s]*(?:auth|credential|pass|pwd|secret|token)[^=&;\s]*(?<!_file)=)[^&;\s]+", re.IGNORECASE
)


def hide_query_secrets(text: str) -> str:
    """Return a text with the values of a URL's query hidden that are called passwords, tokens and the like.

    None of our URLs takes a password there, but those of other programs do, and people try; names of files stay.
    """
    return _QUERY_SECRET.sub(rf"\g<name>{HIDDEN}", text)
