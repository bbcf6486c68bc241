"""Exit with 0 if a container is healthy. Standard library only: it runs every few seconds.

healthcheck.py URL            the URL answers 200
healthcheck.py FILE SECONDS   the JSON file's `updated_at` is at most so many seconds old, and it does not say `stopped`
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

ANSWER_SECONDS = 8.0


def answers(url: str) -> bool:
    """Return whether a URL on this machine answers 200; proxies of the environment are not asked."""
    import urllib.request  # an agent's check needs none of it, and a slow agent has no time to spare

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def is_fresh(path: Path, *, seconds: float) -> bool:
    """Return whether an agent's status file was written at most so many seconds ago, by an agent that has not ended."""
    try:
        status = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(status["state"] != "stopped" and time.time() - status["updated_at"] <= seconds)


if __name__ == "__main__":
    target = sys.argv[1]
    healthy = answers(target) if target.startswith("http://") else is_fresh(Path(target), seconds=float(sys.argv[2]))
    sys.exit(0 if healthy else 1)
