"""How work was spread: which worker led which federation, and which coordinator took how many deltas."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Mapping

ANSWER_SECONDS = 10.0
_ACCEPTED = re.compile(r'^alignfed_uploads_total\{[^}]*outcome="accepted"[^}]*\} (\S+)$', re.MULTILINE)
_LEADER = re.compile(r"-(\d+)-[0-9a-f]+$")


def accepted_in(exposition: str) -> int:
    """Return how many deltas a coordinator has accepted, by its metrics."""
    return round(sum(float(value) for value in _ACCEPTED.findall(exposition)))


def accepted_by(metrics: Mapping[str, str]) -> dict[str, int]:
    """Return how many deltas each coordinator has accepted.

    Args:
        metrics: `host:port` of each one's metrics, by name.

    Raises:
        OSError: One does not answer.
    """
    found = {}
    for name, address in metrics.items():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=ANSWER_SECONDS) as answer:
            found[name] = accepted_in(answer.read().decode("utf-8"))
    return found


def process_of(worker_id: str, pids: Mapping[str, int]) -> str:
    """Return the name of the process that a worker's id stands for; the id itself for one that is elsewhere.

    A worker's id ends with its process id and a random part.
    """
    match = _LEADER.search(worker_id)
    names = [name for name, pid in pids.items() if match and pid == int(match[1])]
    return names[0] if names else worker_id
