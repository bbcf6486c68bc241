"""What a local run consists of, written to its folder so that it can be resumed; and the layout of that folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain

RECORD_FILE = "run.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """One agent: `slowdown` is how many times slower than this machine it trains, `data` its private training data."""

    agent_id: str
    domain: str
    slowdown: float
    data: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """A domain's held-out rows, JSON Lines."""

    domain: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """What a run was started with. Paths are absolute.

    Attributes:
        federation: Name of its federation.
        base_model: Directory of the base model.
        agents: The fleet.
        held_out: What the report evaluates on.
        calibration: JSON Lines that the server holds.
        sequence_length: Tokens per row that the data was cut for.
        plan_file: The plan file given, empty for the demo's plan.
        fast: Whether tiny budgets were asked for: for a look or a test rather than for a result.
        external_store: Whether its store is not the embedded one; its URL may hold a password and is not kept.
    """

    federation: str
    base_model: str
    agents: tuple[AgentSpec, ...]
    held_out: tuple[HeldOut, ...]
    calibration: str
    sequence_length: int
    plan_file: str = ""
    fast: bool = False
    external_store: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one run lies."""

    root: Path

    @property
    def signing_key(self) -> Path:
        """The private key that signs the run's versions; runs in a store of their own have one."""
        return self.root / "signing-key.pem"

    @property
    def version_keys(self) -> Path:
        """Its public key."""
        return self.root / "version-keys.pem"

    @property
    def record(self) -> Path:
        """The run's record; there once its set-up is complete."""
        return self.root / RECORD_FILE

    @property
    def data(self) -> Path:
        """Domains, each in its parts."""
        return self.root / "data"

    @property
    def store(self) -> Path:
        """The embedded store's append-only file."""
        return self.root / "store"

    @property
    def results(self) -> Path:
        """Adapter, merge records, report and plots."""
        return self.root / "results"

    @property
    def report(self) -> Path:
        """The report for machines, written last."""
        return self.results / "report.json"

    def log(self, process: str) -> Path:
        """Return the log file of a process."""
        return self.root / "logs" / f"{process}.log"

    def state(self, agent_id: str) -> Path:
        """Return an agent's state directory."""
        return self.root / "agents" / agent_id

    def status(self, agent_id: str) -> Path:
        """Return an agent's status file."""
        return self.root / "agents" / f"{agent_id}.status.json"


def write_record(folder: RunFolder, record: RunRecord) -> None:
    """Write the record in one step: a folder with a record is a run that can be resumed."""
    draft = folder.record.with_suffix(".tmp")
    draft.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n", "utf-8")
    draft.replace(folder.record)


def read_record(folder: RunFolder) -> RunRecord:
    """Return the record of an existing run.

    Raises:
        RequestInvalid: It cannot be read, or was written by another version.
    """
    try:
        return from_plain(RunRecord, json.loads(folder.record.read_text("utf-8")))
    except (OSError, ValueError, PlainValueError) as error:
        raise RequestInvalid(f"{folder.record} cannot be read ({error}): start another run with --new") from error


def next_free(root: Path) -> Path:
    """Return the first of `root-2`, `root-3`, ... that does not exist yet."""
    number = 2
    while root.with_name(f"{root.name}-{number}").exists():
        number += 1
    return root.with_name(f"{root.name}-{number}")
