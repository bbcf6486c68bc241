"""Looks for one delta where only a search finds it: a queue entry by its delta's id, a receipt by the start of its id.

For operators who ask about one delta, now and then: nothing on an agent's or a worker's path searches.
"""

from __future__ import annotations

from coordinator.backends.redis.calls import Calls
from coordinator.backends.redis.keys import CONSUMER_GROUP, FederationKeys
from coordinator.backends.redis.records import load_delta
from coordinator.domain import QueuePlace

SCAN_BATCH = 1000
"""Entries per command: below a millisecond of the server's time."""

MAX_SCANS = 200
"""Commands of one search for a receipt: 200,000 receipts, about a second."""


async def known_ids(calls: Calls, federation: str, prefix: str, *, limit: int) -> list[str]:
    """Return up to `limit` ids of accepted deltas that begin with `prefix`; see the port."""
    key = FederationKeys(federation).receipts
    pattern = f"{literal(prefix)}*"
    found: set[str] = set()
    cursor = 0
    for _ in range(MAX_SCANS):
        cursor, receipts = await calls.command("HSCAN", key, cursor, "MATCH", pattern, "COUNT", SCAN_BATCH)
        found |= {delta_id.decode() for delta_id in receipts}
        if not cursor or len(found) >= limit:
            break
    return sorted(found)[:limit]


async def place(calls: Calls, federation: str, delta_id: str) -> QueuePlace | None:
    """Return a delta's place in the queue; see the port. Reads the queue in batches, up to the delta."""
    key = FederationKeys(federation).queue
    passed, start = 0, "-"
    needle = delta_id.encode()
    while True:
        (entries,) = await calls.read(federation, ("XRANGE", key, start, "+", "COUNT", SCAN_BATCH))
        for index, (entry_id, fields) in enumerate(entries, start=1):
            if needle in fields[b"delta"] and load_delta(fields[b"delta"]).delta_id == delta_id:
                claimed_by, attempts = await _claim_of(calls, key, entry_id.decode())
                return QueuePlace(
                    delta=load_delta(fields[b"delta"]), place=passed + index, claimed_by=claimed_by, attempts=attempts
                )
        if len(entries) < SCAN_BATCH:
            return None
        passed += len(entries)
        start = f"({entries[-1][0].decode()}"


async def _claim_of(calls: Calls, key: str, entry_id: str) -> tuple[str | None, int]:
    """Return who has claimed an entry and how many merges were begun with it; deliveries count from 1."""
    found = await calls.command("XPENDING", key, CONSUMER_GROUP, entry_id, entry_id, 1, parse_detail=True)
    if not found:
        return None, 0
    return found[0]["consumer"].decode(), max(0, int(found[0]["times_delivered"]) - 1)


def literal(text: str) -> str:
    """Return a pattern that matches only the text itself."""
    return "".join(f"\\{letter}" if letter in "*?[]^-\\" else letter for letter in text)
