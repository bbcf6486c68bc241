"""Reads what a federation has published, over the operator service."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from bench.fleet.account import MergedOne
from bench.fleet.figures import Version
from coordinator.cli.operator_client import OperatorClient

_PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Versions that were merged: when each was made (Unix seconds, the worker's clock), and every delta in them."""

    made_at: dict[Version, float]
    sizes: dict[Version, int]
    merged: tuple[MergedOne, ...]


def published(client: OperatorClient, federation: str) -> Published:
    """Return all merged versions of a federation with their records; one call for each."""
    made_at: dict[Version, float] = {}
    sizes: dict[Version, int] = {}
    merged: list[MergedOne] = []
    before: int | None = None
    while page := client.versions(federation, before=before, limit=_PAGE):
        before = page[-1].id.number
        for version in page:
            if not version.deltas:
                continue
            number = version.id.number
            made_at[federation, number], sizes[federation, number] = version.created_at, version.deltas
            record = client.version(federation, number).merge
            merged += [
                MergedOne(
                    delta_id=one.delta_id,
                    agent_id=one.agent_id,
                    version=number,
                    staleness_versions=one.staleness_versions,
                )
                for one in (record.deltas if record is not None else ())
            ]
        if before == 0:
            break
    return Published(made_at=made_at, sizes=sizes, merged=tuple(merged))


def together(parts: Iterable[Published]) -> Published:
    """Return what several federations have published."""
    made_at: dict[Version, float] = {}
    sizes: dict[Version, int] = {}
    merged: list[MergedOne] = []
    for part in parts:
        made_at |= part.made_at
        sizes |= part.sizes
        merged += part.merged
    return Published(made_at=made_at, sizes=sizes, merged=tuple(merged))
