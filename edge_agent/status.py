"""The status file: what the agent does right now, as JSON, for progress displays on the same machine."""

from __future__ import annotations

import dataclasses
import enum
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from alignfed.errors import DiskFull
from edge_agent.outbox.durable import replace_json


class Activity(enum.StrEnum):
    """What the agent does. It may upload while it trains: `uploading` means that it waits for an upload."""

    STARTING = "starting"
    WAITING = "waiting"
    TRAINING = "training"
    UPLOADING = "uploading"
    SLEEPING = "sleeping"
    STOPPED = "stopped"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentStatus:
    """The file's content, key by key. `step` of `steps` and `loss` belong to the delta being trained or last trained.

    `deltas_*` count over all restarts; `privacy_epsilon` is the privacy loss of them all, None where training is not
    private; `updated_at` is seconds since the Unix epoch.
    """

    agent_id: str
    federation: str
    state: Activity = Activity.STARTING
    detail: str = ""
    base_version: int | None = None
    step: int = 0
    steps: int = 0
    loss: float | None = None
    deltas_made: int = 0
    deltas_merged: int = 0
    deltas_rejected: int = 0
    deltas_dropped: int = 0
    privacy_epsilon: float | None = None
    privacy_delta: float | None = None
    updated_at: float = 0.0


class StatusFile:
    """Keeps the newest status and writes it whole, in one step; safe to use from several threads.

    Args:
        path: The file; None to keep the status in memory only.
        status: Where to start.
    """

    def __init__(self, path: Path | None, status: AgentStatus) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._status = status
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.update()

    @property
    def status(self) -> AgentStatus:
        """The newest status."""
        return self._status

    def update(self, **changes: Any) -> None:
        """Change some of the values and write the file; without space for it, the file stays as it is."""
        with self._lock:
            self._status = dataclasses.replace(self._status, updated_at=time.time(), **changes)
            if self._path is not None:
                with suppress(DiskFull):
                    replace_json(self._path, dataclasses.asdict(self._status), synced=False)
