"""Payloads in parts."""

from __future__ import annotations

import dataclasses

from alignfed.chunks import chunk_count


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A stored payload in parts of `part_bytes` (the last may be shorter)."""

    blob_id: str
    total_bytes: int
    part_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        """Refuse lengths that no payload has."""
        if self.part_bytes < 1 or self.total_bytes < 0:
            raise ValueError(f"blob {self.blob_id} of {self.total_bytes} bytes in parts of {self.part_bytes}")

    @property
    def parts(self) -> int:
        """How many parts the payload has."""
        return chunk_count(self.total_bytes, self.part_bytes)
