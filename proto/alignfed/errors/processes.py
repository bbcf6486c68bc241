"""Requests, data, disks and processes, on either side."""

from __future__ import annotations

from alignfed.errors.base import Rejected, Unavailable


class RequestInvalid(Rejected):
    """A request's field is missing or out of range."""

    reason = "REQUEST_INVALID"


class DataUnusable(Rejected):
    """Training data is empty, unreadable or of no known shape."""

    reason = "DATA_UNUSABLE"


class Draining(Unavailable):
    """The coordinator is shutting down; another one will answer."""

    reason = "DRAINING"


class CoordinatorUnreachable(Unavailable):
    """No coordinator answers at the address."""

    reason = "COORDINATOR_UNREACHABLE"


class DiskFull(Unavailable):
    """The agent's disk, or its user's quota on it, has no space left for what it must keep."""

    reason = "DISK_FULL"


class LocalProcessFailed(Unavailable):
    """A process of a federation on one machine ended by itself, or did not get ready in time."""

    reason = "LOCAL_PROCESS_FAILED"
