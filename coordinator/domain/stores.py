"""What a store tells of itself."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreMemory:
    """Memory that a store uses and may use, in bytes; `limit_bytes` is 0 when nothing limits it.

    `holds_payloads` is false where payloads are kept outside, so that uploads hardly fill it.
    """

    used_bytes: int
    limit_bytes: int
    holds_payloads: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StoreServer:
    """One server of the store as it describes itself; what it does not tell is empty or None.

    Attributes:
        software: Name and version, such as `Valkey 9.0.1`.
        now: Its clock, seconds since the Unix epoch.
        eviction_policy: What it does when memory is short; anything but `noeviction` loses data.
        append_only: Whether it keeps an append-only file.
        append_fsync: When that file is forced to the disk: `always`, `everysec` or `no`.
        append_failing: Whether its last write to that file failed.
        memory_used_bytes: What its data take.
        memory_limit_bytes: What they may take; 0 for no limit but the machine's.
    """

    software: str
    now: float
    eviction_policy: str = ""
    append_only: bool = False
    append_fsync: str = ""
    append_failing: bool = False
    memory_used_bytes: int = 0
    memory_limit_bytes: int = 0
