"""Stores and their backups."""

from __future__ import annotations

from alignfed.errors.base import InvariantBroken, Rejected, Unavailable


class StoreUnsafe(Rejected):
    """The store could lose data as it is configured, or is too old."""

    reason = "STORE_UNSAFE"


class StoreUnreachable(Unavailable):
    """The store does not answer."""

    reason = "STORE_UNREACHABLE"


class StoreFull(Unavailable):
    """The store has no memory left for writes."""

    reason = "STORE_FULL"


class StoreCorrupt(InvariantBroken):
    """The store holds something that AlignFed never writes, or lacks something it wrote."""

    reason = "STORE_CORRUPT"


class BackupForeign(Rejected):
    """The file is not a backup that AlignFed wrote."""

    reason = "BACKUP_FOREIGN"


class BackupTooNew(Rejected):
    """The backup's format is newer than this AlignFed understands."""

    reason = "BACKUP_TOO_NEW"


class BackupTruncated(Rejected):
    """The backup ends before its end."""

    reason = "BACKUP_TRUNCATED"


class BackupCorrupt(Rejected):
    """The backup's bytes are not the ones that were written, or contradict each other."""

    reason = "BACKUP_CORRUPT"


class BackupOvertaken(Unavailable):
    """Merging went on faster than the payloads could be copied, or a restore took longer than its records may wait."""

    reason = "BACKUP_OVERTAKEN"
