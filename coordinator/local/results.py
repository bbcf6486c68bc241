"""Fetches what a run has published, evaluates it, and writes the results folder."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from alignfed.codec import decode
from alignfed.plan import Encoding, FederationPlan
from coordinator.cli.operator_client import OperatorClient
from coordinator.cli.operator_views import VersionView
from coordinator.cli.tables import as_json, plain
from coordinator.local.evaluate import HeldOutLosses, choose_versions, evaluate
from coordinator.local.plots import write_plots
from coordinator.local.report import (
    AgentSetup,
    Cost,
    DomainLoss,
    Report,
    VersionLoss,
    agent_shares,
    fairness_of,
    staleness_of,
)
from coordinator.local.report_text import report_text
from coordinator.local.run_record import RunRecord
from coordinator.worker.adapter import write_peft

MOST_EVALUATED = 12
"""Versions evaluated at most, evenly spaced: each takes some seconds."""
_PAGE = 500


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a federation has published.

    Attributes:
        plan: Its plan.
        versions: With merge records, oldest first, none that a rollback has abandoned.
        adapters: Served adapters (safetensors, fp32) of some versions by number, the newest among them.
        rejected: Deltas rejected by agent.
    """

    plan: FederationPlan
    versions: tuple[VersionView, ...]
    adapters: dict[int, bytes]
    rejected: dict[str, int]

    @property
    def final(self) -> VersionView:
        """The newest version."""
        return self.versions[-1]


def fetch_published(client: OperatorClient, federation: str, *, last: int) -> Published:
    """Fetch everything the results need, up to version `last`; afterwards the federation's processes may stop."""
    view = client.federation(federation)
    numbers: list[int] = []
    before: int | None = last + 1
    while before is not None:
        page = client.versions(federation, before=before, limit=_PAGE)
        numbers += [version.id.number for version in page if not version.abandoned]
        before = page[-1].id.number if len(page) == _PAGE else None
    numbers.sort()
    retained = [number for number in numbers if number >= view.head.oldest_retained]
    return Published(
        plan=view.plan,
        versions=tuple(client.version(federation, number) for number in numbers),
        adapters={n: client.adapter(federation, n)[1] for n in choose_versions(retained, MOST_EVALUATED)},
        rejected={view.agent.agent_id: view.contribution.rejected for view in client.agents(federation)},
    )


def evaluate_published(published: Published, record: RunRecord, *, say: Callable[[str], None]) -> HeldOutLosses:
    """Return the held-out losses of base model and versions."""
    return evaluate(published.plan, Path(record.base_model), record.held_out, published.adapters, say=say)


def make_report(published: Published, record: RunRecord, losses: HeldOutLosses, cost: Cost) -> Report:
    """Put the report together."""
    final = losses.versions[published.final.id.number]
    setups = [AgentSetup(agent_id=a.agent_id, domain=a.domain, slowdown=a.slowdown) for a in record.agents]
    shares = agent_shares(setups, published.rejected, published.versions)
    calibration = {version.id.number: version.calibration_loss for version in published.versions}
    return Report(
        federation=record.federation,
        model=record.base_model,
        final_version=published.final.id.number,
        serves_average=published.final.serves_average,
        deltas_merged=sum(version.deltas for version in published.versions),
        domains=tuple(
            DomainLoss(domain=name, tokens=losses.tokens[name], base=base, final=final[name])
            for name, base in losses.base.items()
        ),
        versions=tuple(
            VersionLoss(number=number, held_out=held_out, calibration=calibration[number])
            for number, held_out in losses.versions.items()
        ),
        agents=shares,
        fairness=fairness_of(shares),
        staleness=staleness_of(published.versions),
        cost=cost,
    )


def write_adapter(published: Published, folder: Path) -> Path:
    """Write the served adapter of the final version as a PEFT directory, replacing an older one."""
    target = folder / "adapter"
    shutil.rmtree(target, ignore_errors=True)
    plan, payload = published.plan, published.adapters[published.final.id.number]
    factors = decode(payload, plan.tensors, Encoding.FP32)
    write_peft(target, factors, plan.lora, base_model_name=plan.base_model.name)
    return target


def write_merge_records(versions: Sequence[VersionView], folder: Path) -> Path:
    """Write one JSON line per version, oldest first, with its merge record."""
    path = folder / "merge_records.jsonl"
    path.write_text("".join(json.dumps(plain(version)) + "\n" for version in versions), "utf-8")
    return path


def write_report(report: Report, folder: Path) -> str:
    """Write report and plots, and return the report as text."""
    text = report_text(report, results=folder)
    (folder / "report.md").write_text(text, "utf-8")
    write_plots(report, folder)
    (folder / "report.json").write_text(as_json(report) + "\n", "utf-8")  # last: it says that the report is complete
    return text
