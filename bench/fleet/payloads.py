"""Deltas that the agent's own codec has made, written once for all processes that send them (needs torch)."""

from __future__ import annotations

import json
from pathlib import Path

from alignfed.plan import FederationPlan
from bench.speed.deltas import prepare

KINDS = 4
"""Different payloads; every agent sends one of them again and again, each time as another delta."""


def write_payloads(root: Path, plan: FederationPlan) -> list[Path]:
    """Prepare a few deltas of a plan and return their folders, each with `delta` and `meta.json`."""
    folders = []
    for number in range(KINDS):
        folder = root / f"payload-{number}"
        folder.mkdir(parents=True)
        prepared = prepare(folder, plan)
        (folder / "meta.json").write_text(json.dumps(prepared.meta.to_dict()), "utf-8")
        folders.append(folder)
    return folders
