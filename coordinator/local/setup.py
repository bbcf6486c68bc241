"""Prepares a run: which folder, which model, which data for which agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from alignfed.errors import RequestInvalid
from alignfed.version_keys import new_signing_key
from coordinator.cli.base_model_files import find_base_model
from coordinator.cli.plan_file import PlanFile, read_plan_file
from coordinator.cli.text_files import read_records, write_records
from coordinator.local.demo_plan import (
    FIT_ROWS,
    JUDGE_TOKENS,
    OWN_DATA_SEQUENCE_LENGTH,
    SEQUENCE_LENGTH,
    SLOWDOWNS,
    demo_plan,
)
from coordinator.local.model import packaged_model
from coordinator.local.run_record import AgentSpec, HeldOut, RunFolder, RunRecord, write_record
from coordinator.local.sources import Domain, Source, calibration_rows, file_sources, python_sources, write_domain

CALIBRATION_SPARE_ROWS = 32
"""Calibration rows beyond those one merge uses, so that fit rows can rotate."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user asked for.

    Attributes:
        versions: Versions to reach.
        agents: How many; 0 for one per slowdown or domain.
        slowdowns: One per agent; empty for the default, in turn.
        data: One's own files, one domain each; empty for Python's own source packages.
        model: Directory of the base model; None for the packaged one.
        federation: Name of a new run's federation.
        plan_file: Plan file; None for the demo's plan.
        store_url: The store; empty for an embedded one.
        cache_dir: Where the packaged model is kept once converted.
        keep_running: Go on after the report, until interrupted.
        fast: Tiny budgets.
    """

    versions: int
    agents: int = 0
    slowdowns: tuple[float, ...] = ()
    data: tuple[Path, ...] = ()
    model: Path | None = None
    federation: str = "demo"
    plan_file: Path | None = None
    store_url: str = ""
    cache_dir: Path = Path(".alignfed")
    keep_running: bool = False
    fast: bool = False


def set_up(options: RunOptions, folder: RunFolder, *, say: Callable[[str], None]) -> RunRecord:
    """Prepare a new run in `folder` and write its record.

    Raises:
        RequestInvalid: The options contradict each other, or the packaged model is not installed.
        DataUnusable: A domain is empty, unreadable or too small.
        PlanInvalid: The plan file is wrong.
    """
    written = read_plan_file(options.plan_file) if options.plan_file is not None else None
    slowdowns = fleet_slowdowns(options)
    if written is not None:
        model, _wanted = find_base_model(written, options.model)
    else:
        model = options.model or packaged_model(options.cache_dir / "models", say=say)
    sources = choose_sources(options, len(slowdowns))
    length = sequence_length_of(options, written)
    domains = write_domains(sources, folder, agents=len(slowdowns), sequence_length=length)
    say(f"{len(domains)} domains in {folder.data}: {', '.join(domain.name for domain in domains)}")
    calibration = write_records(
        folder.data / "calibration.jsonl", calibration_rows(domains, count=_calibration_count(written))
    )
    record = RunRecord(
        federation=written.plan.federation if written else options.federation,
        base_model=str(model.absolute()),
        agents=assign(domains, slowdowns),
        held_out=tuple(HeldOut(domain=domain.name, path=str(domain.held_out.absolute())) for domain in domains),
        calibration=str(calibration.absolute()),
        sequence_length=length,
        plan_file=str(options.plan_file.absolute()) if options.plan_file else "",
        fast=options.fast,
        external_store=bool(options.store_url),
    )
    if not record.external_store:  # which may hold the federation already, unsigned
        folder.signing_key.unlink(missing_ok=True)  # of a set-up that was broken off
        folder.version_keys.write_text(new_signing_key(folder.signing_key), "utf-8")
    write_record(folder, record)
    return record


def sequence_length_of(options: RunOptions, written: PlanFile | None) -> int:
    """Return how many tokens a row has."""
    if written is not None:
        return written.plan.training.sequence_length
    return OWN_DATA_SEQUENCE_LENGTH if options.data else SEQUENCE_LENGTH


def fleet_slowdowns(options: RunOptions) -> tuple[float, ...]:
    """Return one slowdown per agent.

    Raises:
        RequestInvalid: Number of agents and slowdowns contradict each other.
    """
    count = options.agents or len(options.slowdowns) or len(options.data) or len(SLOWDOWNS)
    if options.slowdowns:
        if len(options.slowdowns) != count:
            raise RequestInvalid(
                f"--slowdown names {len(options.slowdowns)} agents, --agents says {count}: make them agree"
            )
        return options.slowdowns
    return tuple(SLOWDOWNS[i % len(SLOWDOWNS)] for i in range(count))


def choose_sources(options: RunOptions, agents: int) -> list[Source]:
    """Return the domains' sources: one's own files, or Python's packages.

    Raises:
        RequestInvalid: There are more files than agents, so that some would train nobody.
    """
    if not options.data:
        return python_sources(agents)
    if len(options.data) > agents:
        raise RequestInvalid(f"{len(options.data)} files of data for {agents} agents: each domain needs an agent")
    return file_sources(options.data)


def write_domains(sources: Sequence[Source], folder: RunFolder, *, agents: int, sequence_length: int) -> list[Domain]:
    """Split every source; domains share the agents in turn when there are more agents than domains."""
    shares = [len(range(i, agents, len(sources))) for i in range(len(sources))]
    return [
        write_domain(
            source,
            folder.data / source.domain,
            agents=share,
            sequence_length=sequence_length,
        )
        for source, share in zip(sources, shares, strict=True)
    ]


def assign(domains: Sequence[Domain], slowdowns: Sequence[float]) -> tuple[AgentSpec, ...]:
    """Give every agent its domain and its own part of the domain's training data."""
    return tuple(
        AgentSpec(
            agent_id=f"agent-{i + 1}",
            domain=domains[i % len(domains)].name,
            slowdown=slowdown,
            data=str(domains[i % len(domains)].train[i // len(domains)].absolute()),
        )
        for i, slowdown in enumerate(slowdowns)
    )


def plan_of(record: RunRecord, *, versions: int) -> PlanFile:
    """Return the demo's plan, or the plan file given, with the run's calibration rows unless it names its own.

    Raises:
        PlanInvalid: The plan file is wrong.
    """
    calibration = Path(record.calibration)
    if not record.plan_file:
        plan = demo_plan(record, calibration_rows=len(read_records(calibration)), versions=versions)
        return PlanFile(plan=plan, folder=calibration.parent, calibration_data=(calibration,))
    written = read_plan_file(Path(record.plan_file))
    return written if written.calibration_data else dataclasses.replace(written, calibration_data=(calibration,))


def _calibration_count(written: PlanFile | None) -> int:
    if written is None:
        return FIT_ROWS + JUDGE_TOKENS // SEQUENCE_LENGTH + CALIBRATION_SPARE_ROWS
    return written.plan.calibration.fit_rows + written.plan.calibration.judge_rows + CALIBRATION_SPARE_ROWS
