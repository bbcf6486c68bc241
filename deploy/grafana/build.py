"""Writes the dashboards' JSON from their Python: `python -m deploy.grafana.build`. A test keeps the two alike."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards import Board
from deploy.grafana.fairness import FAIRNESS
from deploy.grafana.fleet import FLEET
from deploy.grafana.quality import QUALITY
from deploy.grafana.staleness import STALENESS
from deploy.grafana.store import STORE

FOLDER = Path(__file__).parent / "dashboards"
BOARDS = (FLEET, STALENESS, FAIRNESS, QUALITY, STORE)


def path_of(board: Board) -> Path:
    """Return the file of a dashboard."""
    return FOLDER / f"{board.name}.json"


def text_of(board: Board) -> str:
    """Return the file's content."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    for each in BOARDS:
        path_of(each).write_text(text_of(each), "utf-8")
