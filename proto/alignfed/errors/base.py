"""The root of the tree, and its three branches: permanent, temporary, and stop."""

from __future__ import annotations

from typing import ClassVar

ERROR_DOMAIN = "alignfed"


class AlignFedError(Exception):
    """Root of the tree.

    Args:
        message: What happened and what to do next, one or two sentences.
        **metadata: Facts for machines, short strings; they travel with the reason.
    """

    reason: ClassVar[str] = "INTERNAL"

    def __init__(self, message: str, /, **metadata: object) -> None:  # any name may come over the wire as a fact
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class Rejected(AlignFedError):
    """Permanent: the same request will fail again."""


class Unavailable(AlignFedError):
    """Temporary: try again later; nothing was lost."""


class InvariantBroken(AlignFedError):
    """Going on would corrupt the federation: stop."""
