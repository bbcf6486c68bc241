"""The agent's state directory: who it is, what it has made, one lock; everything a restart needs."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import uuid
import zlib
from pathlib import Path
from typing import Self

from alignfed import failpoints
from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain
from alignfed.plan import AGENT_ID
from edge_agent.domain import Totals
from edge_agent.outbox.durable import replace_json, storing

STATE_NAME = "state.json"
LOCK_NAME = "lock"
OUTBOX_NAME = "outbox"
ACCEPTED_NAME = "accepted-version.json"
DIGESTS_NAME = "base-model-digests.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """What is kept over restarts. `next_sequence` numbers the next delta: a restart goes on in the data from there."""

    federation: str
    agent_id: str
    next_sequence: int = 0
    totals: Totals = dataclasses.field(default_factory=Totals)

    @property
    def seed(self) -> int:
        """A number of the agent's own, the same after every restart."""
        return zlib.crc32(self.agent_id.encode())


class StateDirectory:
    """Owns one state directory, locked against a second agent until closed. Not safe to use from several threads.

    Args:
        path: The directory; created, readable by its owner only.
        federation: The federation it serves; a directory serves one for ever.
        agent_id: The wanted id; None keeps the one already there, or makes one up.

    Raises:
        RequestInvalid: Another agent uses the directory, or it belongs to another federation or agent, or is damaged.
    """

    def __init__(self, path: Path, *, federation: str, agent_id: str | None = None) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (path / LOCK_NAME).open("w")
        except OSError as error:
            raise RequestInvalid(
                f"the state directory {path} is not usable ({error}): name another --state-dir"
            ) from error
        self.path = path
        try:
            self._acquire()
            self.state = self._load(federation, agent_id)
            if not (path / STATE_NAME).exists():  # else nothing has changed, and a full disk is no reason not to start
                self.save(self.state)
        except BaseException:
            self._lock.close()
            raise

    @property
    def outbox(self) -> Path:
        """Where the outbox is."""
        return self.path / OUTBOX_NAME

    @property
    def accepted_version(self) -> Path:
        """Where the last accepted version is remembered."""
        return self.path / ACCEPTED_NAME

    @property
    def digests(self) -> Path:
        """Where digests of base models are remembered."""
        return self.path / DIGESTS_NAME

    def save(self, state: AgentState) -> None:
        """Replace the state, durably.

        Raises:
            DiskFull: There is no space; `state` is the new one all the same, and the next save keeps it.
            RequestInvalid: The directory cannot be written.
        """
        self.state = state
        with storing(self.path), failpoints.around("state.save"):
            replace_json(self.path / STATE_NAME, dataclasses.asdict(state))

    def close(self) -> None:
        """Release the lock. Idempotent."""
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _acquire(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RequestInvalid(
                f"another agent runs with the state directory {self.path}: stop it, or name another --state-dir"
            ) from error

    def _load(self, federation: str, agent_id: str | None) -> AgentState:
        file = self.path / STATE_NAME
        if not file.exists():
            return AgentState(federation=federation, agent_id=agent_id or new_agent_id())
        try:
            state = from_plain(AgentState, json.loads(file.read_text("utf-8")))
        except (OSError, ValueError, RecursionError, PlainValueError) as error:
            raise RequestInvalid(f"{file} is damaged ({error}): name another --state-dir") from error
        if state.federation != federation or agent_id not in (None, state.agent_id):
            raise RequestInvalid(
                f"the state directory {self.path} belongs to agent {state.agent_id} of federation {state.federation}: "
                "name another --state-dir for another agent or federation"
            )
        return state


def check_agent_id(agent_id: str) -> str:
    """Return `agent_id` itself when it is well-formed.

    Raises:
        RequestInvalid: It is not.
    """
    if not AGENT_ID.fullmatch(agent_id):
        raise RequestInvalid(
            f"agent id {agent_id!r} must be 1 to 64 letters, digits, '.', '_' or '-', not led by a sign"
        )
    return agent_id


def new_agent_id() -> str:
    """Make up an id that tells people which machine it is and cannot clash."""
    host = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in os.uname().nodename)[:40]
    return f"{host.strip('._-') or 'agent'}-{uuid.uuid4().hex[:8]}"
