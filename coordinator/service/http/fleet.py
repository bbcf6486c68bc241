"""The fleet table: one row per agent, sorted, filtered and cut into pages here, so that 10,000 agents stay light."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from alignfed.errors import RequestInvalid
from coordinator.domain import AgentRecord, Contribution
from coordinator.service.http.figures import ACTIVE_SECONDS, RECENT_SECONDS
from coordinator.service.http.history import VersionBrief

PAGE_ROWS = 50
_MAX_FILTER_LENGTH = 100


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentRow:
    """One line of the table.

    `merged_in` is the newest version shown that contains a delta of the agent, `lag_versions` how stale that delta was;
    both None when no version shown does. `state` is `recent` (seen this hour), `active` (today), `away` or `revoked`.
    """

    agent_id: str
    tier: str
    device: str
    state: str
    last_seen_at: float
    merged_in: int | None
    lag_versions: int | None
    merged: int
    weight_share: float
    rejected: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which rows are wanted: those containing `text`, ordered by `sort`, the page `page` (from 1) of them."""

    text: str = ""
    sort: str = "agent"
    descending: bool = False
    page: int = 1


_Key = Callable[[AgentRow], tuple[float | str, ...]]
_SORTS: dict[str, _Key] = {
    "agent": lambda row: (row.agent_id,),
    "tier": lambda row: (row.tier, row.agent_id),
    "device": lambda row: (row.device, row.agent_id),
    "last_seen": lambda row: (row.last_seen_at, row.agent_id),
    "lag": lambda row: (-1 if row.lag_versions is None else row.lag_versions, row.agent_id),
    "merged": lambda row: (row.merged, row.agent_id),
    "weight": lambda row: (row.weight_share, row.agent_id),
    "rejected": lambda row: (row.rejected, row.agent_id),
}


def agent_rows(
    agents: Iterable[AgentRecord],
    contributions: Mapping[str, Contribution],
    versions: Iterable[VersionBrief],
    *,
    now: float,
) -> tuple[AgentRow, ...]:
    """Return every agent's row.

    Args:
        agents: Who is registered.
        contributions: What came of them.
        versions: The versions shown, newest first.
        now: Seconds since the Unix epoch.
    """
    newest: dict[str, tuple[int, int]] = {}
    for version in versions:
        for part in version.parts:
            newest.setdefault(part.agent_id, (version.id.number, part.staleness_versions))
    total = sum(share.weight for share in contributions.values())
    rows = []
    for agent in agents:
        share = contributions.get(agent.agent_id, Contribution())
        merged_in, lag = newest.get(agent.agent_id, (None, None))
        rows.append(
            AgentRow(
                agent_id=agent.agent_id,
                tier=agent.tier,
                device=agent.device,
                state=_state(agent, now=now),
                last_seen_at=agent.last_seen_at,
                merged_in=merged_in,
                lag_versions=lag,
                merged=share.merged,
                weight_share=share.weight / total if total else 0.0,
                rejected=share.rejected,
            )
        )
    return tuple(rows)


def _state(agent: AgentRecord, *, now: float) -> str:
    if agent.revoked:
        return "revoked"
    silent_seconds = now - agent.last_seen_at
    return "recent" if silent_seconds <= RECENT_SECONDS else "active" if silent_seconds <= ACTIVE_SECONDS else "away"


def selection_of(query: Mapping[str, str]) -> Selection:
    """Read what is wanted from a URL's query: `filter`, `sort` (`-` before it for descending), `page`.

    Raises:
        RequestInvalid: A value is not one of those that can be wanted.
    """
    sort, text, page = query.get("sort", "agent"), query.get("filter", ""), query.get("page", "1")
    if sort.removeprefix("-") not in _SORTS:
        raise RequestInvalid(f"agents cannot be sorted by {sort!r}: choose one of {', '.join(_SORTS)}")
    if len(text) > _MAX_FILTER_LENGTH:
        raise RequestInvalid(f"a filter has at most {_MAX_FILTER_LENGTH} characters")
    if not (page.isascii() and page.isdecimal() and 0 < len(page) <= 6 and int(page)):
        raise RequestInvalid(f"{page!r} is no page: pages are counted from 1")
    return Selection(text=text, sort=sort.removeprefix("-"), descending=sort.startswith("-"), page=int(page))


def select(rows: Sequence[AgentRow], wanted: Selection) -> dict[str, Any]:
    """Return one page of the wanted rows; the last page when there are fewer."""
    text = wanted.text.strip().casefold()
    found = [row for row in rows if text in f"{row.agent_id} {row.tier} {row.device} {row.state}".casefold()]
    found.sort(key=_SORTS[wanted.sort], reverse=wanted.descending)
    pages = max(1, -(-len(found) // PAGE_ROWS))
    page = min(wanted.page, pages)
    shown = found[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    return {
        "agents": [dataclasses.asdict(row) for row in shown],
        "found": len(found),
        "registered": len(rows),
        "page": page,
        "pages": pages,
        "page_rows": PAGE_ROWS,
    }
