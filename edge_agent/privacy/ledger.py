"""What private training has cost so far: every step on the agent's rows, in a file that survives restarts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from alignfed import failpoints
from alignfed.errors import RequestInvalid
from alignfed.plain import PlainValueError, from_plain
from alignfed.privacy.loss import SampledSteps, sampled_epsilon
from edge_agent.outbox.durable import replace_json

LEDGER_NAME = "privacy.json"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Ledger:
    """The file's content."""

    spent: tuple[SampledSteps, ...] = ()


class PrivacyLedger:
    """Owns the ledger of one state directory, which is locked by whoever opened it.

    Steps are written down before they are taken, so that a crash at any point counts too many and never too few.

    Args:
        directory: The agent's state directory.

    Raises:
        RequestInvalid: The file is damaged: what was spent is unknown.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LEDGER_NAME
        self._ledger = self._load()

    @staticmethod
    def exists(directory: Path) -> bool:
        """Whether private training has begun in this state directory."""
        return (directory / LEDGER_NAME).exists()

    @property
    def spent(self) -> tuple[SampledSteps, ...]:
        """All steps so far; equal ones in a row are one entry."""
        return self._ledger.spent

    def epsilon(self, *, delta: float) -> float:
        """Return the privacy loss so far."""
        return sampled_epsilon(self.spent, delta=delta)

    def epsilon_with(self, steps: SampledSteps, *, delta: float) -> float:
        """Return what the privacy loss would be after further steps."""
        return sampled_epsilon(_added(self.spent, steps), delta=delta)

    def charge(self, steps: SampledSteps) -> None:
        """Write further steps down, durably, before they are taken.

        Raises:
            DiskFull: They are not written down: do not take them.
            RequestInvalid: The directory cannot be written.
        """
        ledger = _Ledger(spent=_added(self.spent, steps))
        with failpoints.around("privacy.charge"):
            replace_json(self._path, dataclasses.asdict(ledger))
        self._ledger = ledger

    def _load(self) -> _Ledger:
        try:
            return from_plain(_Ledger, json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            return _Ledger()
        except (OSError, ValueError, RecursionError, PlainValueError) as error:
            raise RequestInvalid(
                f"{self._path} is damaged ({error}), so what private training has cost is unknown: bring it back from "
                "a backup, or stop training on these rows"
            ) from error


def _added(spent: tuple[SampledSteps, ...], more: SampledSteps) -> tuple[SampledSteps, ...]:
    if spent and dataclasses.replace(spent[-1], steps=more.steps) == more:
        return (*spent[:-1], dataclasses.replace(more, steps=spent[-1].steps + more.steps))
    return (*spent, more)
